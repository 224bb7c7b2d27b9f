"""What is strange about a month's trips: counted, told, and kept.

No row is dropped for being strange: refunds are negative on purpose, and what counts as an error is
for those to say who use the trips. The counts by day are a table of the lake, so that they can be
asked for as the trips can.
"""

from collections.abc import Mapping
from datetime import date

import duckdb
from upath import UPath

from taxi_shared.lake import Lake, parquet_rows
from taxi_shared.tables import Table

HASHES_AT_ONCE = 16_000_000  # keeps memory the same for a month of any size
NOT_COUNTED = ("pickup_date", "num_trips")


def write_days(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    trips: Table,
    days: Table,
    partition: str,
    note: str,
) -> None:
    """Replace a month of `days` by the counts of the month's file of `trips` in the lake."""
    counts = ", ".join(f"{column.formula} AS {column.name}" for column in days.columns)
    lake.write(
        con,
        days,
        f"SELECT {counts} FROM read_parquet($file) GROUP BY pickup_date ORDER BY pickup_date",
        {"file": str(lake.file(trips, partition))},
        partition,
        note,
    )


def report(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, partition: str
) -> Mapping[str, int]:
    """How many trips of a month are strange in which way, and how many values are missing.

    `nulls in …` is there for the columns that TLC's file has values of.
    """
    file = str(lake.file(table, partition))
    return {
        **(_sums(con, lake, table.days, partition) if table.days else {}),
        "exact duplicates": repeated_rows(con, file, table),
        **{f"nulls in {name}": count for name, count in _nulls(con, file, table).items()},
    }


def _sums(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Table, partition: str
) -> dict[str, int]:
    """The counts of a month, added up over its days."""
    names = [column.name for column in days.columns if column.name not in NOT_COUNTED]
    outside = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> $month"
    found = con.execute(
        f"SELECT sum(num_trips) FILTER ({outside}), "
        f"{', '.join(f'sum({name})' for name in names)} FROM read_parquet($file)",
        {"file": str(lake.file(days, partition)), "month": date.fromisoformat(partition)},
    ).fetchone()
    labels = ["pickups outside the month"]
    labels += [name.removeprefix("num_").replace("_", " ") for name in names]
    return {label: int(n or 0) for label, n in zip(labels, found or (), strict=True)}


def repeated_rows(con: duckdb.DuckDBPyConnection, file: str, table: Table) -> int:
    """Rows that equal an earlier row in every column.

    They are compared by hashes of 64 bits: the odds that two of 10 million rows agree by chance are
    3 to a million. Sorted by numpy, hashes take a third of the time that SQL's DISTINCT takes.
    """
    import numpy as np

    columns = ", ".join(column.name for column in table.columns if not column.formula)
    parts = 1 + parquet_rows(con, UPath(file)) // HASHES_AT_ONCE
    repeated = 0
    for part in range(parts):
        hashes = con.execute(
            f"SELECT row FROM (SELECT hash({columns}) AS row FROM read_parquet($file)) "
            "WHERE row % CAST($parts AS UBIGINT) = $part",
            {"file": file, "parts": parts, "part": part},
        ).fetchnumpy()["row"]
        hashes.sort()
        repeated += int(np.count_nonzero(hashes[1:] == hashes[:-1]))
    return repeated


def _nulls(con: duckdb.DuckDBPyConnection, file: str, table: Table) -> dict[str, int]:
    """The number of NULLs of each column with values, by the footer of a file of the lake."""
    found = con.execute(
        "SELECT path_in_schema, CAST(sum(stats_null_count) AS BIGINT) AS nulls, "
        "sum(num_values) AS rows FROM parquet_metadata($file) "
        "GROUP BY path_in_schema HAVING nulls < rows OR rows = 0 ORDER BY min(column_id)",
        {"file": file},
    ).fetchall()
    derived = {column.name for column in table.columns if column.formula}
    return {name: nulls for name, nulls, _ in found if name not in derived}
