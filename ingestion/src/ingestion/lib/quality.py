"""What is strange about a month's trips: counted, told, and kept.

No row is dropped for being strange: refunds are negative on purpose, and what counts as an error is
for those to say who use the trips. The counts by day are a table of the lake, so that they can be
asked for as the trips can.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import duckdb
from upath import UPath

from ingestion.lib.conform import RAW_FILE, ReadPlan
from taxi_shared.lake import Lake, Replacement, parquet_rows
from taxi_shared.storage import literal
from taxi_shared.tables import DUPLICATES, LOSSES, Column, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HASHES_AT_ONCE = 8_000_000  # of twice as many, DuckDB's list would not fit into its memory
DAYS_AT_ONCE = 8
PLACE_BITS = 20
NOT_STRANGE = ("pickup_date", "num_trips", "total_amount")


def write_days(
    con: duckdb.DuckDBPyConnection,
    new: Replacement,
    trips: Table,
    days: Table,
    fingerprint: str,
    publisher: str,
    raw: UPath,
    plan: ReadPlan,
) -> None:
    """Write a month's new file of `days`, the counts of its new file of `trips`.

    What was lost in reading TLC's file `raw` by `plan` is counted there.

    Rows are compared by hashes of 64 bits: the odds that two of 10 million rows agree by chance are
    3 to a million. Equal rows are of one day.
    """
    path = new.file(trips)
    parts = 1 + parquet_rows(con, path) // HASHES_AT_ONCE
    formulas = ", ".join(f"{c.formula} AS {c.name}" for c in days.columns if c.formula)
    nulls = _nulls(con, path, trips)
    _find_losses(con, raw, plan, {name: count for name, (count, _) in nulls.items()})
    # A column without values makes no difference.
    filled = [name for name, (_, has_values) in nulls.items() if has_values]
    row_hash = f"hash({', '.join(filled) or 'NULL'})"
    con.execute("CREATE OR REPLACE TEMP TABLE repeated (pickup_date DATE, number BIGINT)")
    for part in range(parts):
        some = f"FILTER ({row_hash} % {parts}::UBIGINT = {part})" if parts > 1 else ""
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE counted AS SELECT {formulas}, "
            f"list({row_hash}) {some} AS hashes "
            "FROM read_parquet($file, hive_partitioning = false) GROUP BY pickup_date",
            {"file": literal(path)},
        )
        _find_repeated(con)
    columns = ", ".join(f"CAST({_counted(c)} AS {c.type}) AS {c.name}" for c in days.columns)
    query = f"SELECT {columns} FROM counted ORDER BY pickup_date"
    new.write(con, days, query, {}, fingerprint, publisher)
    con.execute("DROP TABLE counted; DROP TABLE repeated; DROP TABLE lossy")


def _counted(column: Column) -> str:
    """A column of days, as SQL over the tables `counted`, `repeated` and `lossy`."""
    if column == DUPLICATES:
        counts, number = "repeated", "number"
    elif column in LOSSES:
        counts, number = "lossy", column.name
    else:
        return column.name
    return (
        f"(SELECT coalesce(sum({number}), 0) FROM {counts} "
        f"WHERE {counts}.pickup_date IS NOT DISTINCT FROM counted.pickup_date)"
    )


def _find_losses(
    con: duckdb.DuckDBPyConnection, raw: UPath, plan: ReadPlan, nulls: Mapping[str, int]
) -> None:
    """Make the table `lossy`: for each day, how many trips of TLC's file lose what in reading.

    `nulls` are those of each column in the lake. A column that has as many in the file has lost no
    value to NULL, and is not read again: reading all of them takes a twentieth of the load's time.
    """
    file = {"file": literal(raw)}
    published = _null_counts(con, raw)
    as_published = {
        mapping.column.name
        for mapping in plan.mappings
        if [published.get(s.name) for s in mapping.sources] == [nulls.get(mapping.column.name)]
    }
    possible = [
        loss for loss in plan.losses if not (loss.leaves_null and loss.column.name in as_published)
    ]
    # Each condition by itself: DuckDB evaluates it on a dictionary's few values, which it does not
    # where conditions are joined by OR.
    counts = ", ".join(["count(*)", *(f"count_if({loss.condition})" for loss in possible)])
    ((_, *found),) = con.execute(f"SELECT {counts} FROM {RAW_FILE}", file).fetchall()
    present = [loss for loss, count in zip(possible, found, strict=True) if count]
    con.execute(f"CREATE OR REPLACE TEMP TABLE lossy AS {plan.lossy_trips(present)}", file)


def _null_counts(con: duckdb.DuckDBPyConnection, file: UPath) -> dict[str, int]:
    """The number of NULLs in the columns of TLC's file whose footer has it."""
    try:
        found = con.execute(
            "SELECT path_in_schema, CAST(sum(stats_null_count) AS BIGINT) "
            "FROM parquet_metadata($file) GROUP BY path_in_schema "
            "HAVING count(stats_null_count) = count(*)",
            {"file": literal(file)},
        ).fetchall()
    except duckdb.Error:  # of statistics that cannot be shown, such as a time of -2**63
        return {}
    return dict(found)


def _find_repeated(con: duckdb.DuckDBPyConnection) -> None:
    """Add to `repeated` how many hashes of `counted` are equal to another one of their day.

    A few days at a time: all hashes at once would take a third more memory.
    """
    ((num_days,),) = con.execute("SELECT count(*) FROM counted").fetchall()
    for first in range(0, num_days, DAYS_AT_ONCE):
        some_days = con.execute(
            "SELECT rowid AS day, hashes FROM counted "
            "WHERE rowid >= $first AND rowid < $end AND hashes IS NOT NULL",
            {"first": first, "end": first + DAYS_AT_ONCE},
        ).fetchnumpy()
        for day, hashes in zip(some_days["day"], some_days["hashes"], strict=True):
            if number := count_repeated(hashes):
                con.execute(
                    "INSERT INTO repeated SELECT pickup_date, $number FROM counted "
                    "WHERE rowid = $day",
                    {"number": number, "day": int(day)},
                )


def count_repeated(hashes: "NDArray[np.uint64]") -> int:
    """How many of some hashes (n,) of 64 bits are equal to one before them.

    Each goes to a place that some of its bits tell, and the last one there stays. One that is equal
    to it is a repeated one; one that is not tries again, by other bits. That takes a tenth of the
    time of SQL's DISTINCT, and a third of that of sorting.
    """
    import numpy as np

    stays = np.empty(1 << PLACE_BITS, dtype=np.int32)
    repeated, shift = 0, 0
    while len(hashes):
        numbers = np.arange(len(hashes), dtype=stays.dtype)
        places = (hashes >> np.uint64(shift)) & np.uint64(len(stays) - 1)
        stays[places] = numbers
        staying = stays[places]
        met_its_like = hashes[staying] == hashes
        repeated += int(np.count_nonzero(met_its_like) - np.count_nonzero(staying == numbers))
        hashes = hashes[~met_its_like]
        shift = (shift + PLACE_BITS) % (64 - PLACE_BITS)
    return repeated


def report(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, partition: str
) -> Mapping[str, int]:
    """How many trips of a month are strange in which way, and how many values are missing.

    `nulls in …` is there for the columns that TLC's file must have, and for those that have values.
    """
    nulls = _nulls(con, str(lake.file(table, partition)), table)
    published = {c.name for c in table.columns if c.is_published_in(partition[:7])}
    return {
        **(_sums(con, lake, table.days, partition) if table.days else {}),
        **{
            f"nulls in {name}": count
            for name, (count, has_values) in nulls.items()
            if has_values or name in published
        },
    }


def _sums(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Table, partition: str
) -> dict[str, int]:
    """The counts of a month, added up over its days."""
    names = [column.name for column in days.columns if column.name not in NOT_STRANGE]
    outside = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> $month"
    found = con.execute(
        f"SELECT sum(num_trips) FILTER ({outside}), "
        f"{', '.join(f'sum({name})' for name in names)} "
        "FROM read_parquet($file, hive_partitioning = false)",
        {"file": literal(lake.file(days, partition)), "month": date.fromisoformat(partition)},
    ).fetchone()
    labels = ["pickups outside the month"]
    labels += [name.removeprefix("num_").replace("_", " ") for name in names]
    return {label: int(n or 0) for label, n in zip(labels, found or (), strict=True)}


def _nulls(con: duckdb.DuckDBPyConnection, file: str, table: Table) -> dict[str, tuple[int, bool]]:
    """For each column the number of NULLs and whether it has values, by the footer of a file.

    Without the columns that follow from others.
    """
    found = con.execute(
        "SELECT path_in_schema, CAST(sum(stats_null_count) AS BIGINT) AS nulls, "
        "sum(num_values) > nulls FROM parquet_metadata($file) "
        "GROUP BY path_in_schema ORDER BY min(column_id)",
        {"file": literal(file)},
    ).fetchall()
    derived = {column.name for column in table.columns if column.formula}
    return {name: (nulls, values) for name, nulls, values in found if name not in derived}
