"""What is checked of loaded months, beyond that they could be read: their counts.

Each check says in a sentence what is wrong with a month, or nothing. Bounds are wide: a warning
that comes every month is not read.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

import duckdb
from upath import UPath

from taxi_shared.tables import Table

UNKNOWN_ZONES = "num_unknown_pickup_zones"
MOST_STRAYS = 0.001
MOST_UNKNOWN_ZONES = 0.05
USUAL_FACTOR = 1.6
USUAL_DELAY = timedelta(days=75)  # of TLC


@dataclass(frozen=True)
class Counts:
    """Of a month's trips: all, those picked up in another month, those without a pickup zone."""

    trips: int
    strays: int
    unknown_zones: int


class UnlikeDescribed(Exception):
    """A file of the lake has other columns than its table's description says."""


def check_columns(con: duckdb.DuckDBPyConnection, file: UPath, table: Table) -> None:
    """Raise UnlikeDescribed unless a file's columns and their types are those of its table."""
    described = {column.name: column.type for column in table.columns}
    found = {
        name: kind
        for name, kind, *_ in con.execute(
            "DESCRIBE FROM read_parquet($file, hive_partitioning = false)", {"file": str(file)}
        ).fetchall()
    }
    wrong = [
        f"{name} is {found.get(name, 'not there')}, described as {described.get(name, 'nothing')}"
        for name in sorted(found.keys() | described.keys())
        if found.get(name) != described.get(name)
    ]
    if wrong:
        raise UnlikeDescribed(f"{file}: {'; '.join(wrong)}")


def counts_by_month(con: duckdb.DuckDBPyConnection, days: Table) -> dict[str, Counts]:
    """The counts of every month in the lake, by its partition, from the view of `days`."""
    stray = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> partition_date"
    found = con.execute(
        f"SELECT partition_date, sum(num_trips), coalesce(sum(num_trips) FILTER ({stray}), 0), "
        f"{f'sum({UNKNOWN_ZONES})' if days.has(UNKNOWN_ZONES) else 0} "
        f"FROM {days.name} GROUP BY partition_date"
    ).fetchall()
    return {month.isoformat(): Counts(*map(int, counts)) for month, *counts in found}


def strays(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether too many trips of a month's file were picked up in other months."""
    return _share(month, lake[month].strays, lake[month].trips, MOST_STRAYS, "outside the month")


def unknown_zones(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether too many trips have no zone of pickup."""
    found = lake[month]
    return _share(month, found.unknown_zones, found.trips, MOST_UNKNOWN_ZONES, "without a zone")


def usual_number(month: str, lake: Mapping[str, Counts]) -> str | None:
    """Whether a month has many more or fewer trips than those beside it and a year before."""
    others = {
        other: lake[other].trips
        for other in (_months_away(month, n) for n in (-12, -1, 1))
        if other in lake
    }
    if not others:
        return None
    trips, usual = lake[month].trips, median(others.values())
    if usual / USUAL_FACTOR <= trips <= usual * USUAL_FACTOR:
        return None
    compared = ", ".join(f"{other[:7]} has {count:,}" for other, count in sorted(others.items()))
    return f"{month[:7]} has {trips:,} trips; {compared}"


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
