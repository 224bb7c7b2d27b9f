"""Lakes that have the columns of a location's contracts and no others."""

import duckdb

from taxi_shared.contracts import contracts_of
from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import literal
from taxi_shared.tables import TABLES, Table


def promised_columns(location: str) -> list[tuple[str, str]]:
    """Return pairs of a table and a column promised to a location, without partition columns."""
    promised = {
        (table, column)
        for use in contracts_of(location)
        for table, columns in use.tables.items()
        for column in columns
    }
    folders = {(table.name, table.partition_by.name) for table in TABLES if table.partition_by}
    return sorted(promised - folders)


def keep_promised_columns(lake: Lake, location: str, without: tuple[str, str] = ("", "")) -> None:
    """Rewrite a lake's files with only the columns promised to a location.

    `without` is a table and a column of it to leave out as well. Partition columns, which are names
    of folders, stay.
    """
    promised = [each for each in promised_columns(location) if each != without]
    before = lake.snapshot()
    days = {table.days.name for table in TABLES if table.days}

    def kept(table: Table, partition: str) -> Rows:
        names = [each.name for each in table.columns if (table.name, each.name) in promised]
        query = f"SELECT {', '.join(names) or '1 AS nothing'} FROM read_parquet($file)"  # noqa: S608 - our own columns
        return Rows(query, {"file": literal(before.files(table)[partition].path)})

    with duckdb.connect() as con:
        for table in [each for each in TABLES if each.name not in days]:
            tables = [table, table.days] if table.days else [table]
            for partition in before.files(table):
                with lake.replacement(tables, partition) as new:
                    for each in tables:
                        new.write(con, each, kept(each, partition))
