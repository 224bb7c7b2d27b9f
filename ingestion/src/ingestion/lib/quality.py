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

NOT_STRANGE = ("pickup_date", "num_trips", "total_amount")


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
    formulas = ", ".join(f"{c.formula} AS {c.name}" for c in days.columns if c != DUPLICATES)
    # A column without values makes no difference.
    filled = [name for name, (_, has_values) in _nulls(con, file, trips).items() if has_values]
    # A table, and a day of it at a time: all hashes at once would take a third more memory.
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE counted AS SELECT {formulas}, "
        f"CAST(0 AS {DUPLICATES.type}) AS {DUPLICATES.name}, "
        f"list(hash({', '.join(filled) or 'NULL'})) AS hashes "
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
    columns = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in days.columns)
    query = f"SELECT {columns} FROM counted ORDER BY pickup_date"
    lake.write(con, days, query, {}, partition, note)
    con.execute("DROP TABLE counted")


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
        f"{', '.join(f'sum({name})' for name in names)} FROM read_parquet($file)",
        {"file": str(lake.file(days, partition)), "month": date.fromisoformat(partition)},
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
        {"file": file},
    ).fetchall()
    derived = {column.name for column in table.columns if column.formula}
    return {name: (nulls, values) for name, nulls, values in found if name not in derived}
