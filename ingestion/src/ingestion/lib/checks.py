"""What is checked of months, beyond that they can be read: their columns and counts.

Each check says in a sentence what is wrong with a month, or nothing. Bounds are wide: a warning
that comes every month is not read, and a month is refused only where it cannot be right.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from statistics import median

import duckdb
from upath import UPath

from taxi_shared.storage import literal
from taxi_shared.tables import Table

UNKNOWN_TOTALS = "num_unknown_totals"
UNKNOWN_ZONES = "num_unknown_pickup_zones"
# A month whose file is replaced by another keeps most of its rows. In April 2020 there were 4 % of
# the trips of April 2019, and 8 % of those of March 2020.
LEAST_OF_REPLACED, LEAST_OF_OTHERS = 0.5, 0.01
MOST_STRAYS_AT_ALL = 0.5
MOST_STRAYS = 0.001
MOST_UNKNOWN_TOTALS = 0.1
MOST_UNKNOWN_ZONES = 0.05
USUAL_FACTOR = 1.6
USUAL_DELAY = timedelta(days=75)  # of TLC


@dataclass(frozen=True)
class Counts:
    """Of a month's trips: all, those picked up in another month, those without a pickup zone, those
    without a total.
    """

    trips: int
    strays: int
    unknown_zones: int
    unknown_totals: int = 0


class UnlikeDescribed(Exception):
    """A file of the lake has other columns than its table's description says."""


def check_columns(
    con: duckdb.DuckDBPyConnection, file: UPath | str, table: Table, shown: UPath | None = None
) -> None:
    """Raise UnlikeDescribed unless a file's columns and their types are those of its table.

    `shown` is the file's name in the message, where that is not its present one.
    """
    described = {column.name: column.type for column in table.columns}
    found = {
        name: kind
        for name, kind, *_ in con.execute(
            "DESCRIBE FROM read_parquet($file, hive_partitioning = false)", {"file": literal(file)}
        ).fetchall()
    }
    wrong = [
        f"{name} is {found.get(name, 'not there')}, described as {described.get(name, 'nothing')}"
        for name in sorted(found.keys() | described.keys())
        if found.get(name) != described.get(name)
    ]
    if wrong:
        raise UnlikeDescribed(f"{shown or file}: {'; '.join(wrong)}")


def too_few_rows(
    month: str, rows: int, in_place: int | None, others: Mapping[str, int]
) -> str | None:
    """Why the file of a month cannot have so few rows; None where it can.

    in_place: rows of the month in the lake, if there are any
    others:   rows of other months in the lake; those of `compared_with` count
    """
    compared = {other: others[other] for other in compared_with(month) if other in others}
    expected, reason = 1, ""
    if in_place:
        expected = ceil(in_place * LEAST_OF_REPLACED)
        reason = f"the month in the lake has {in_place:,}"
    elif compared:
        expected = max(1, ceil(median(compared.values()) * LEAST_OF_OTHERS))
        reason = _listed(compared)
    if rows >= expected:
        return None
    found = f"the file of {month[:7]} has {rows:,} rows"
    return f"{found}, {reason}; expected at least {expected:,}" if reason else found


def mostly_strays(month: str, strays: int, rows: int) -> str | None:
    """Why a file with so many pickups outside the month cannot be that month's; None if it can."""
    if strays <= MOST_STRAYS_AT_ALL * rows:
        return None
    return (
        f"{strays:,} of the {rows:,} pickups in the file of {month[:7]} are outside the month; "
        f"expected at most {MOST_STRAYS_AT_ALL:.0%}"
    )


def strays_in(con: duckdb.DuckDBPyConnection, days_file: str, month: str) -> int:
    """The trips in a month's file of days that were picked up in another month, or never."""
    ((strays,),) = con.execute(
        f"SELECT coalesce(sum(num_trips) FILTER ({_STRAY}), 0) FROM (SELECT *, "
        "$month::DATE AS partition_date FROM read_parquet($file, hive_partitioning = false))",
        {"file": literal(days_file), "month": month},
    ).fetchall()
    return int(strays)


_STRAY = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> partition_date"


def counts_by_month(con: duckdb.DuckDBPyConnection, days: Table) -> dict[str, Counts]:
    """The counts of every month in the lake, by its partition, from the view of `days`.

    A count that a month's file does not have yet, or the table not at all, is 0.
    """
    there = {name for name, *_ in con.execute(f"DESCRIBE {days.name}").fetchall()}
    others = ", ".join(
        f"coalesce(sum({name}), 0)" if name in there else "0"
        for name in (UNKNOWN_ZONES, UNKNOWN_TOTALS)
    )
    found = con.execute(
        f"SELECT partition_date, sum(num_trips), coalesce(sum(num_trips) FILTER ({_STRAY}), 0), "
        f"{others} FROM {days.name} GROUP BY partition_date"
    ).fetchall()
    return {month.isoformat(): Counts(*map(int, counts)) for month, *counts in found}


def strays(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether too many trips of a month's file were picked up in other months."""
    return _share(month, lake[month].strays, lake[month].trips, MOST_STRAYS, "outside the month")


def unknown_zones(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether too many trips have no zone of pickup."""
    found = lake[month]
    return _share(month, found.unknown_zones, found.trips, MOST_UNKNOWN_ZONES, "without a zone")


def unknown_totals(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether too many trips have no total amount."""
    found = lake[month]
    if found.unknown_totals <= MOST_UNKNOWN_TOTALS * found.trips:
        return None
    return (
        f"{month[:7]} has {found.unknown_totals:,} of {found.trips:,} trips without a total "
        f"amount; expected at most {MOST_UNKNOWN_TOTALS:.0%}. Its sums leave them out"
    )


def usual_number(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether a month has many more or fewer trips than those beside it and a year before."""
    others = {other: lake[other].trips for other in compared_with(month) if other in lake}
    if not others:
        return None
    trips, usual = lake[month].trips, median(others.values())
    if usual / USUAL_FACTOR <= trips <= usual * USUAL_FACTOR:
        return None
    return f"{month[:7]} has {trips:,} trips; {_listed(others)}"


def compared_with(month: str) -> list[str]:
    """The months that a month is compared with: a year before, the one before, the next one."""
    return [_months_away(month, number) for number in (-12, -1, 1)]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{month[:7]} has {count:,}" for month, count in sorted(counts.items()))


def not_up_to_date(months: Iterable[str], loaded: Container[str], today: date) -> str | None:
    """Whether the newest of all months (partitions) that TLC should have published is not loaded.

    TLC publishes a month about two months after it ends.
    """
    due = [month for month in months if _end_of(month) + USUAL_DELAY <= today]
    missing = [month[:7] for month in due if month not in loaded]
    if not due or due[-1] in loaded:
        return None
    return f"{due[-1][:7]} is due since {_end_of(due[-1]) + USUAL_DELAY}; not loaded: " + (
        ", ".join(missing[-12:]) if len(missing) <= 12 else f"{len(missing)} months"
    )


def findings(sentences: Iterable[str | None]) -> tuple[str, ...]:
    """What was found, without the months of which nothing was."""
    return tuple(sentence for sentence in sentences if sentence)


def _share(month: str, part: int, whole: int, most: float, text: str) -> str | None:
    if part <= most * whole:
        return None
    return f"{month[:7]} has {part:,} of {whole:,} pickups {text}, more than {most:.1%}"


def _end_of(month: str) -> date:
    """The day after the last of a month."""
    return date.fromisoformat(_months_away(month, 1))


def _months_away(month: str, number: int) -> str:
    """The partition so many months after another."""
    year, place = divmod(int(month[:4]) * 12 + int(month[5:7]) - 1 + number, 12)
    return f"{year:04}-{place + 1:02}-01"
