"""What is strange about a month's trips: counted, told, and kept.

No row is dropped for being strange: refunds are negative on purpose, and what counts as an error is
for those to say who use the trips. The counts by day are a table of the lake, so that they can be
asked for as the trips can.
"""

from collections.abc import Mapping
from datetime import date

import duckdb

from taxi_shared.lake import Lake
from taxi_shared.tables import DUPLICATES, Table

NOT_STRANGE = ("pickup_date", "num_trips")


def write_days(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    trips: Table,
    days: Table,
    partition: str,
    note: str,
) -> None:
    """Replace a month of `days` by the counts of the month's file of `trips` in the lake.

    Rows are compared by hashes of 64 bits: the odds that two of 10 million rows agree by chance are
    3 to a million. Equal rows are of one day; sorted by numpy, a day at a time, hashes take a third
    of the time that SQL's DISTINCT takes.
    """
    import numpy as np

    file = str(lake.file(trips, partition))
    counts = ", ".join(f"{c.formula} AS {c.name}" for c in days.columns if c != DUPLICATES)
    # A column without values makes no difference.
    columns = ", ".join(_nulls(con, file, trips)) or "NULL"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE counted AS SELECT {counts}, "
        f"CAST(0 AS {DUPLICATES.type}) AS {DUPLICATES.name}, list(hash({columns})) AS hashes "
        "FROM read_parquet($file) GROUP BY pickup_date",
        {"file": file},
    )
    of_day = "pickup_date IS NOT DISTINCT FROM $day"
    for (day,) in con.execute("SELECT pickup_date FROM counted").fetchall():
        hashes = con.execute(
            f"SELECT unnest(hashes) AS row FROM counted WHERE {of_day}", {"day": day}
        ).fetchnumpy()["row"]
        hashes.sort()
        if duplicates := int(np.count_nonzero(hashes[1:] == hashes[:-1])):
            con.execute(
                f"UPDATE counted SET {DUPLICATES.name} = $number WHERE {of_day}",
                {"number": duplicates, "day": day},
            )
    lake.write(
        con, days, "SELECT * EXCLUDE hashes FROM counted ORDER BY pickup_date", {}, partition, note
    )
    con.execute("DROP TABLE counted")


def report(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, partition: str
) -> Mapping[str, int]:
    """How many trips of a month are strange in which way, and how many values are missing.

    `nulls in …` is there for the columns that TLC's file has values of.
    """
    file = str(lake.file(table, partition))
    return {
        **(_sums(con, lake, table.days, partition) if table.days else {}),
        **{f"nulls in {name}": count for name, count in _nulls(con, file, table).items()},
    }


def _sums(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Table, partition: str
) -> dict[str, int]:
    """The counts of a month, added up over its days."""
    names = [column.name for column in days.columns if column.name not in NOT_STRANGE]
    outside = "pickup_date IS NULL OR date_trunc('month', pickup_date) <> $month"
    found = con.execute(
        f"SELECT sum(num_trips) FILTER ({outside}), "
        f"{', '.join(f'sum({name})' for name in names)} FROM read_parquet($file)",
        {"file": str(lake.file(days, partition)), "month": date.fromisoformat(partition)},
    ).fetchone()
    labels = ["pickups outside the month"]
    labels += [name.removeprefix("num_").replace("_", " ") for name in names]
    return {label: int(n or 0) for label, n in zip(labels, found or (), strict=True)}


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
