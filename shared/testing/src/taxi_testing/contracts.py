"""Lakes that have the columns of a location's contracts and no others."""

import duckdb

from taxi_shared.contracts import contracts_of
from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import TABLES


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
    for table in TABLES:
        kept = [each.name for each in table.columns if (table.name, each.name) in promised]
        for file in lake.files(table):
            _, _, partition = file.parent.name.partition("=")
            with duckdb.connect() as con:
                columns = ", ".join(kept) or "1 AS nothing"
                query = f"SELECT {columns} FROM read_parquet($file)"  # noqa: S608 - our own columns
                lake.write(con, table, Rows(query, {"file": str(file)}), partition)
