"""Data quality of a month's trips: unusual trips are counted by day, and none is dropped.

Refunds are negative on purpose, and what counts as an error is for the users of the trips to say.
The counts by day are a table of the lake, which can be queried as the trips can.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING

import duckdb
from upath import UPath

from ingestion.lib.conform import ReadPlan
from ingestion.lib.parquet_schema import RAW_FILE
from taxi_shared.lake import Snapshot, parquet_rows
from taxi_shared.storage import literal
from taxi_shared.tables import DUPLICATES, LOSSES, Column, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NULLS_QUERY = (files("ingestion") / "sql" / "null_counts.sql").read_text(encoding="utf-8")
HASHES_PER_QUERY = 4_000_000  # of four times as many, lists would not fit into DuckDB's memory
SLOT_BITS = 20
NOT_UNUSUAL = ("pickup_date", "num_trips", "total_amount")


@contextmanager
def day_counts(
    con: duckdb.DuckDBPyConnection, reading: ReadPlan, days: Table, file: str
) -> Iterator[str]:
    """The query of the rows of a table of days, which count the trips of a month's new file.

    What was lost in reading TLC's file is counted there, by its read plan. Temporary tables hold
    the counts until the context ends.

    days: the table to count for, as in `trip_days`
    file: the new file of trips

    Duplicates are found by hashes of 64 bits: the odds that two of 10 million rows agree by chance
    are 3 in a million. Duplicates are on the same day.
    """
    nulls = _nulls(con, file, reading.table)
    _count_losses(con, reading, {name: found.nulls for name, found in nulls.items()})
    # A column without values makes no difference.
    hashed = ", ".join(name for name, found in nulls.items() if found.has_values) or "NULL"
    _count_days_and_duplicates(con, days, file, f"hash({hashed})")
    columns = ", ".join(f"CAST({_counted(c)} AS {c.type}) AS {c.name}" for c in days.columns)
    yield f"SELECT {columns} FROM counted ORDER BY pickup_date"  # noqa: S608 - columns of our tables
    con.execute("DROP TABLE counted; DROP TABLE duplicates; DROP TABLE lossy")


def _count_days_and_duplicates(
    con: duckdb.DuckDBPyConnection, days: Table, file: str, row_hash: str
) -> None:
    """Make the tables `counted`, by the expressions of `days`, and `duplicates`.

    All hashes of a large month would not fit into memory: they are made for some days at a time.
    That reads few columns more than once where the file is sorted by time, as most are.
    """
    counts = ", ".join(f"{c.expression} AS {c.name}" for c in days.columns if c.expression)
    hashes = f"list({row_hash}) AS hashes"
    trips = "FROM read_parquet($file, hive_partitioning = false)"
    path = {"file": literal(file)}
    is_large = parquet_rows(con, file) > HASHES_PER_QUERY
    con.execute(
        "CREATE OR REPLACE TEMP TABLE counted AS "
        f"SELECT {counts if is_large else f'{counts}, {hashes}'} {trips} GROUP BY pickup_date",
        path,
    )
    con.execute("CREATE OR REPLACE TEMP TABLE duplicates (pickup_date DATE, num_trips BIGINT)")
    if not is_large:
        _count_duplicates(con, "SELECT pickup_date, hashes FROM counted", {})
        return
    of_day = f"SELECT pickup_date, {hashes} {trips} WHERE"
    _count_duplicates(con, f"{of_day} pickup_date IS NULL GROUP BY pickup_date", path)
    for first, last in _ranges_of_days(con):
        query = f"{of_day} pickup_date BETWEEN $first AND $last GROUP BY pickup_date"
        _count_duplicates(con, query, {**path, "first": first, "last": last})


def _ranges_of_days(con: duckdb.DuckDBPyConnection) -> list[tuple[date, date]]:
    """Divide the days of `counted` into ranges (first, last) of some HASHES_PER_QUERY trips."""
    return con.execute(
        "SELECT min(pickup_date), max(pickup_date) FROM (SELECT pickup_date, "
        "(sum(num_trips) OVER (ORDER BY pickup_date) - 1) // $number AS range FROM counted "
        "WHERE pickup_date IS NOT NULL) GROUP BY range ORDER BY range",
        {"number": HASHES_PER_QUERY},
    ).fetchall()


def _counted(column: Column) -> str:
    """A column of days, as SQL over the tables `counted`, `duplicates` and `lossy`."""
    if column == DUPLICATES:
        counts, number = "duplicates", "num_trips"
    elif column in LOSSES:
        counts, number = "lossy", column.name
    else:
        return column.name
    return (
        f"(SELECT coalesce(sum({number}), 0) FROM {counts} "  # noqa: S608 - our own tables
        f"WHERE {counts}.pickup_date IS NOT DISTINCT FROM counted.pickup_date)"
    )


def _count_losses(
    con: duckdb.DuckDBPyConnection, reading: ReadPlan, nulls: Mapping[str, int]
) -> None:
    """Make the table `lossy`: for each day, how many trips of TLC's file lose what in reading.

    `nulls` are those of each column in the lake. A column that has as many in the file has lost no
    value to NULL, and is not read again: reading all of them takes a twentieth of the load's time.
    """
    file = {"file": literal(reading.file)}
    published = _published_nulls(con, reading.file)
    as_published = {
        mapping.column.name
        for mapping in reading.mappings
        if [published.get(s.name) for s in mapping.sources] == [nulls.get(mapping.column.name)]
    }
    possible = [
        loss
        for loss in reading.losses
        if not (loss.leaves_null and loss.column.name in as_published)
    ]
    # Each condition by itself: DuckDB evaluates it on a dictionary's few values, which it does not
    # where conditions are joined by OR.
    counts = ", ".join(["count(*)", *(f"count_if({loss.condition})" for loss in possible)])
    query = f"SELECT {counts} FROM {RAW_FILE}"  # noqa: S608 - conditions are made by conform
    ((_, *found),) = con.execute(query, file).fetchall()
    present = [loss for loss, count in zip(possible, found, strict=True) if count]
    con.execute(f"CREATE OR REPLACE TEMP TABLE lossy AS {reading.lossy_trips(present)}", file)


def _count_duplicates(
    con: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object]
) -> None:
    """Add to `duplicates` how many of the hashes of a day, by a query, equal an earlier one."""
    found = con.execute(query, parameters).fetchnumpy()
    ((threads,),) = con.execute("SELECT current_setting('threads')").fetchall()
    with ThreadPoolExecutor(threads) as pool:  # NumPy releases the GIL
        numbers = list(pool.map(count_duplicates, found["hashes"]))
    con.execute(
        "INSERT INTO duplicates SELECT unnest($days), unnest($numbers)",
        {"days": found["pickup_date"].tolist(), "numbers": numbers},
    )


def count_duplicates(hashes: "NDArray[np.uint64]") -> int:
    """How many of some hashes (n,) of 64 bits equal an earlier one.

    Each is written into the slot that some of its bits name, where the last one written stays. Of
    the others, those that equal the one in their slot are duplicates; the rest try again by other
    bits. That takes a tenth of the time of SQL's DISTINCT, and a fifth of that of sorting.
    """
    import numpy as np

    slots = np.empty(1 << SLOT_BITS, dtype=np.int32)
    duplicates, shift = 0, 0
    while len(hashes):
        numbers = np.arange(len(hashes), dtype=slots.dtype)
        # As signed numbers, NumPy uses them as they are.
        slot = ((hashes >> np.uint64(shift)) & np.uint64(len(slots) - 1)).view(np.int64)
        slots[slot] = numbers
        written = slots[slot]
        others = np.flatnonzero(written != numbers)
        is_duplicate = hashes[written[others]] == hashes[others]
        duplicates += int(np.count_nonzero(is_duplicate))
        hashes = hashes[others[~is_duplicate]]
        shift = (shift + SLOT_BITS) % (64 - SLOT_BITS)
    return duplicates


def report(
    con: duckdb.DuckDBPyConnection, lake: Snapshot, table: Table, partition: str
) -> Mapping[str, int]:
    """Counts of a month's unusual trips, and of its missing values, by their labels.

    `nulls in …` is there for the columns that TLC's file must have, and for those that have values.
    """
    nulls = _nulls(con, lake.files(table)[partition].path, table)
    published = {c.name for c in table.columns if c.is_published_in(partition[:7])}
    return {
        **(_month_counts(con, lake, table.days, partition) if table.days else {}),
        **{
            f"nulls in {name}": found.nulls
            for name, found in nulls.items()
            if found.has_values or name in published
        },
    }


def _month_counts(
    con: duckdb.DuckDBPyConnection, lake: Snapshot, days: Table, partition: str
) -> dict[str, int]:
    """The counts of a month, added up over its days."""
    names = [column.name for column in days.columns if column.name not in NOT_UNUSUAL]
    outside = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> $month"
    found = con.execute(
        f"SELECT sum(num_trips) FILTER ({outside}), "  # noqa: S608 - columns of our own tables
        f"{', '.join(f'sum({name})' for name in names)} "
        "FROM read_parquet($file, hive_partitioning = false)",
        {"file": literal(lake.files(days)[partition].path), "month": date.fromisoformat(partition)},
    ).fetchone()
    labels = ["pickups outside the month"]
    labels += [name.removeprefix("num_").replace("_", " ") for name in names]
    return {label: int(n or 0) for label, n in zip(labels, found or (), strict=True)}


@dataclass(frozen=True)
class _Nulls:
    """How many values of a column are NULL, and whether others are there.

    is_known: False where a row group does not say it
    """

    nulls: int
    has_values: bool
    is_known: bool


def _nulls(con: duckdb.DuckDBPyConnection, file: UPath | str, table: Table) -> dict[str, _Nulls]:
    """The NULLs of each column in a file of the lake, without columns that are computed."""
    derived = {column.name for column in table.columns if column.expression}
    found = _footer_nulls(con, file)
    return {name: nulls for name, nulls in found.items() if name not in derived}


def _published_nulls(con: duckdb.DuckDBPyConnection, file: UPath | str) -> dict[str, int]:
    """The number of NULLs in the columns of TLC's file whose footer says it."""
    try:
        found = _footer_nulls(con, file)
    except duckdb.Error:  # of statistics that cannot be shown, such as a time of -2**63
        return {}
    return {name: nulls.nulls for name, nulls in found.items() if nulls.is_known}


def _footer_nulls(con: duckdb.DuckDBPyConnection, file: UPath | str) -> dict[str, _Nulls]:
    found = con.execute(NULLS_QUERY, {"file": literal(file)}).fetchall()
    return {name: _Nulls(*counts) for name, *counts in found}
