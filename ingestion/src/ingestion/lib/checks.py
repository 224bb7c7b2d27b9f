"""Checks of months, beyond whether they can be read: their columns and counts.

Each check returns a sentence on what is wrong with a month, or None. Bounds are wide: a warning
that appears every month is not read, and a month is refused only where it cannot be right.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
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
MONTHS_NAMED = 12  # in a message about missing months

STRAYS_QUERY = (files("ingestion") / "sql" / "strays.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Counts:
    """Counts of a month's trips.

    strays:         picked up in another month, or at no known time
    unknown_zones:  without a pickup zone
    unknown_totals: without a total amount
    """

    trips: int
    strays: int
    unknown_zones: int
    unknown_totals: int = 0


class SchemaMismatch(Exception):
    """A file of the lake has other columns than its table's description says."""


def check_columns(
    con: duckdb.DuckDBPyConnection, file: UPath | str, table: Table, shown: UPath | None = None
) -> None:
    """Raise SchemaMismatch unless a file's columns and their types are those of its table.

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
        raise SchemaMismatch(f"{shown or file}: {'; '.join(wrong)}")


def too_few_rows(
    month: str, rows: int, in_place: int | None, others: Mapping[str, int]
) -> str | None:
    """A sentence if the file of a month has so few rows that it cannot be right.

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
    """A sentence if so many pickups are outside the month that the file must be another month's."""
    if strays <= MOST_STRAYS_AT_ALL * rows:
        return None
    return (
        f"{strays:,} of the {rows:,} pickups in the file of {month[:7]} are outside the month; "
        f"expected at most {MOST_STRAYS_AT_ALL:.0%}"
    )


def strays_in(con: duckdb.DuckDBPyConnection, days_file: str, month: str) -> int:
    """The trips in a month's file of days that were picked up in another month, or at no time."""
    parameters = {"file": literal(days_file), "month": month}
    ((strays,),) = con.execute(STRAYS_QUERY, parameters).fetchall()
    return int(strays)


def counts_by_month(con: duckdb.DuckDBPyConnection, days: Table) -> dict[str, Counts]:
    """The counts of every month in the lake, by its partition, from the view of `days`.

    A count is 0 where the files of an older release, or the table, do not have it.
    """
    present = {name for name, *_ in con.execute(f"DESCRIBE {days.name}").fetchall()}
    others = ", ".join(
        f"coalesce(sum({name}), 0)" if name in present else "0"
        for name in (UNKNOWN_ZONES, UNKNOWN_TOTALS)
    )
    stray = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> partition_date"
    found = con.execute(
        "SELECT partition_date, sum(num_trips), "  # noqa: S608 - names of our own tables
        f"coalesce(sum(num_trips) FILTER ({stray}), 0), {others} "
        f"FROM {days.name} GROUP BY partition_date"
    ).fetchall()
    return {month.isoformat(): Counts(*map(int, counts)) for month, *counts in found}


def too_many_strays(month: str, months: Mapping[str, Counts]) -> str | None:
    """A sentence if too many trips of a month's file were picked up in other months."""
    found = months[month]
    if found.strays <= MOST_STRAYS * found.trips:
        return None
    return (
        f"{month[:7]} has {found.strays:,} of {found.trips:,} pickups outside the month, more than "
        f"{MOST_STRAYS:.1%}"
    )


def too_many_unknown_zones(month: str, months: Mapping[str, Counts]) -> str | None:
    """A sentence if too many trips of a month have no pickup zone."""
    found = months[month]
    if found.unknown_zones <= MOST_UNKNOWN_ZONES * found.trips:
        return None
    return (
        f"{month[:7]} has {found.unknown_zones:,} of {found.trips:,} pickups without a zone, more "
        f"than {MOST_UNKNOWN_ZONES:.1%}"
    )


def too_many_unknown_totals(month: str, months: Mapping[str, Counts]) -> str | None:
    """A sentence if too many trips of a month have no total amount."""
    found = months[month]
    if found.unknown_totals <= MOST_UNKNOWN_TOTALS * found.trips:
        return None
    return (
        f"{month[:7]} has {found.unknown_totals:,} of {found.trips:,} trips without a total "
        f"amount; expected at most {MOST_UNKNOWN_TOTALS:.0%}. Its sums leave them out"
    )


def unusual_number(month: str, months: Mapping[str, Counts]) -> str | None:
    """A sentence if a month has many more or fewer trips than usual.

    The usual number is the median of the months of `compared_with`.
    """
    others = {other: months[other].trips for other in compared_with(month) if other in months}
    if not others:
        return None
    trips, usual = months[month].trips, median(others.values())
    if usual / USUAL_FACTOR <= trips <= usual * USUAL_FACTOR:
        return None
    return f"{month[:7]} has {trips:,} trips; {_listed(others)}"


def compared_with(month: str) -> list[str]:
    """The months that a month is compared with: a year before, the previous and the next one."""
    return [_months_away(month, number) for number in (-12, -1, 1)]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{month[:7]} has {count:,}" for month, count in sorted(counts.items()))


def not_up_to_date(months: Iterable[str], loaded: Container[str], today: date) -> str | None:
    """A sentence if the newest month that TLC should have published is not loaded.

    TLC publishes a month about two months after it ends.
    """
    due = [month for month in months if _end_of(month) + USUAL_DELAY <= today]
    missing = [month[:7] for month in due if month not in loaded]
    if not due or due[-1] in loaded:
        return None
    return f"{due[-1][:7]} is due since {_end_of(due[-1]) + USUAL_DELAY}; not loaded: " + (
        ", ".join(missing) if len(missing) <= MONTHS_NAMED else f"{len(missing)} months"
    )


def _end_of(month: str) -> date:
    """The day after the last of a month."""
    return date.fromisoformat(_months_away(month, 1))


def _months_away(month: str, number: int) -> str:
    """The partition so many months after another."""
    year, place = divmod(int(month[:4]) * 12 + int(month[5:7]) - 1 + number, 12)
    return f"{year:04}-{place + 1:02}-01"
