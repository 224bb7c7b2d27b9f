"""Tables of services that read the lake where it is: the SQL that creates them.

    python -m taxi_shared.engines.external_tables athena s3://bucket/prefix

Services read the tables' logs, which have the format of Delta Lake. Those of trips need a reader of
protocol version 3 with the feature `timestampNtz`, those of other tables a reader of version 1.
Redshift reads no logs: it gets manifests, files that name the files of each partition. A pattern
over the folders would count replaced files, too.

By their documentation, Athena reads `timestampNtz` (engine version 3), and so does Databricks;
Snowflake reads version 3; BigQuery names deletion vectors and column mapping of version 3 alone.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from upath import UPath

from taxi_shared import storage
from taxi_shared.lake import Snapshot
from taxi_shared.tables import TABLES, Column, Table

MANIFESTS = "_symlink_format_manifest"
# The engines expect these names, unless a setting has another one.
DATABASE, REDSHIFT_TABLES = "taxi", "taxi_lake"
# Of one ALTER TABLE in Redshift.
PARTITIONS_PER_STATEMENT = 100
WRITERS = 16

_REDSHIFT_TYPES = {"VARCHAR": "VARCHAR(65535)", "DOUBLE": "DOUBLE PRECISION"}


def athena(address: str) -> list[str]:
    """Tables of AWS Glue. Columns come from the logs; Athena allows no other properties.

    A table can be created once it has a log, that is, once its data is loaded.
    """
    _check_is_s3(address)
    return [
        f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
        *(
            f"CREATE EXTERNAL TABLE {DATABASE}.{table.name}\n"
            f"LOCATION {quote(f'{_folder(address, table)}/')}\n"
            "TBLPROPERTIES ('table_type' = 'DELTA')"
            for table in TABLES
        ),
    ]


def databricks(address: str) -> list[str]:
    """Tables of Databricks, or of Spark with Delta Lake. Columns come from the logs."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {DATABASE}",
        *(
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.{table.name}\n"
            f"USING DELTA LOCATION {quote(_folder(address, table))}"
            for table in TABLES
        ),
    ]


def snowflake(address: str) -> list[str]:
    """Iceberg tables over logs of Delta Lake. They need an external volume at the address."""
    return [
        f"-- taxi_lake is an external volume whose STORAGE_BASE_URL is {_root(address)}/\n"
        "CREATE CATALOG INTEGRATION IF NOT EXISTS taxi_delta\n"
        "CATALOG_SOURCE = OBJECT_STORE TABLE_FORMAT = DELTA ENABLED = TRUE",
        *(
            f"CREATE ICEBERG TABLE IF NOT EXISTS {table.name}\n"
            "EXTERNAL_VOLUME = 'taxi_lake' CATALOG = 'taxi_delta'\n"
            f"BASE_LOCATION = {quote(f'staging/{table.name}')}"
            for table in TABLES
        ),
    ]


def bigquery(address: str) -> list[str]:
    """BigLake tables over logs of Delta Lake. They need a connection that may read the address."""
    return [
        "-- us.taxi_lake is a connection in the region of the dataset\n"
        f"CREATE SCHEMA IF NOT EXISTS {DATABASE}",
        *(
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {DATABASE}.{table.name}\n"
            "WITH CONNECTION `us.taxi_lake`\n"
            f"OPTIONS (format = 'DELTA_LAKE', uris = [{quote(_folder(address, table))}])"
            for table in TABLES
        ),
    ]


def redshift(address: str) -> list[str]:
    """Tables of Redshift Spectrum over manifests, and views in a schema that can be searched.

    The engine writes the manifests and adds the partitions before each question.
    """
    _check_is_s3(address)
    return [
        f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {REDSHIFT_TABLES}\n"
        "FROM DATA CATALOG DATABASE 'taxi_redshift' IAM_ROLE default\n"
        "CREATE EXTERNAL DATABASE IF NOT EXISTS",
        f"CREATE SCHEMA IF NOT EXISTS {DATABASE}",
        *(text for table in TABLES for text in _redshift_table(address, table)),
    ]


def _redshift_table(address: str, table: Table) -> list[str]:
    columns = ",\n".join(f"    {_redshift_column(column)}" for column in table.columns)
    by = f"PARTITIONED BY ({_redshift_column(table.partition_by)})\n" if table.partition_by else ""
    names = ", ".join(column.name for column in table.all_columns)
    return [
        f"CREATE EXTERNAL TABLE {REDSHIFT_TABLES}.{table.name} (\n{columns}\n)\n{by}"
        "ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'\n"
        "STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat'\n"
        "OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'\n"
        f"LOCATION {quote(f'{_folder(address, table)}/{MANIFESTS}/')}",
        f"CREATE OR REPLACE VIEW {DATABASE}.{table.name} AS\n"
        f"SELECT {names} FROM {REDSHIFT_TABLES}.{table.name} WITH NO SCHEMA BINDING",
    ]


def _redshift_column(column: Column) -> str:
    return f"{column.name} {_REDSHIFT_TYPES.get(column.type, column.type)}"


SERVICES: dict[str, Callable[[str], list[str]]] = {
    "athena": athena,
    "bigquery": bigquery,
    "databricks": databricks,
    "redshift": redshift,
    "snowflake": snowflake,
}


def write_manifests(lake: Snapshot, table: Table) -> dict[UPath, str]:
    """Write a manifest of each partition of a table: the address of its file. Raises StoreError.

    All questions share them: right ones stay as they are, those of other partitions are removed.
    Returns a version of each manifest that is there now, for `manifests_stayed`.
    """
    manifests, folder = _manifests(lake, table), _manifests_folder(lake, table)

    def correct(path: UPath) -> None:
        if (text := manifests.get(path)) is None:
            storage.remove(path)
        elif _read_manifest(path) != text:
            storage.write_text(path, text)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(correct, manifests.keys() | storage.versions_below(folder).keys()))
    return storage.versions_below(folder)


def manifests_stayed(lake: Snapshot, table: Table, versions: Mapping[UPath, str]) -> bool:
    """Whether the manifests of a table have been those of a snapshot since `versions` were read."""
    manifests = _manifests(lake, table)
    with ThreadPoolExecutor(WRITERS) as pool:
        texts = dict(zip(versions, pool.map(_read_manifest, versions), strict=True))
    # The versions are read last: equal ones say that the texts are those of the whole time.
    return texts == manifests and storage.versions_below(_manifests_folder(lake, table)) == versions


def _manifests(lake: Snapshot, table: Table) -> dict[UPath, str]:
    """The text of each manifest of a table."""
    return {
        _manifest(lake, table, partition) / "manifest": f"{file.address}\n"
        for partition, file in lake.files(table).items()
    }


def _read_manifest(path: UPath) -> str | None:
    try:
        return storage.read_text(path)
    except FileNotFoundError:
        return None


def add_partitions(lake: Snapshot, table: Table) -> list[str]:
    """Return the SQL by which Redshift gets the partitions of a table; none without partitions."""
    if not (by := table.partition_by):
        return []
    days = [date.fromisoformat(partition).isoformat() for partition in lake.files(table)]
    partitions = [
        f"PARTITION ({by.name} = '{day}') LOCATION {quote(f'{_manifest(lake, table, day)}/')}"
        for day in days
    ]
    return [
        f"ALTER TABLE {REDSHIFT_TABLES}.{table.name} ADD IF NOT EXISTS\n"
        + "\n".join(partitions[first : first + PARTITIONS_PER_STATEMENT])
        for first in range(0, len(partitions), PARTITIONS_PER_STATEMENT)
    ]


def quote(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _manifest(lake: Snapshot, table: Table, partition: str) -> UPath:
    """The folder of a partition's manifest."""
    folder = _manifests_folder(lake, table)
    return folder / f"{table.partition_by.name}={partition}" if table.partition_by else folder


def _manifests_folder(lake: Snapshot, table: Table) -> UPath:
    return lake.folder(table) / MANIFESTS


def _folder(address: str, table: Table) -> str:
    return f"{_root(address)}/staging/{table.name}"


def _check_is_s3(address: str) -> None:
    if not _root(address).startswith("s3://"):
        raise ValueError(
            f"{address!r} is not on S3, and the service reads no other store; expected "
            "s3://bucket/prefix"
        )


def _root(address: str) -> str:
    """The address without a trailing slash. Raises ValueError unless it is cloud storage."""
    root = address.rstrip("/")
    if not re.fullmatch(r"[a-z][a-z0-9]*://[^\s\\/]+(/[^\s\\/]+)*", root):
        raise ValueError(f"{address!r} is not cloud storage; expected s3://bucket/prefix")
    return root


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the SQL that creates a service's tables."""
    parser = argparse.ArgumentParser(
        prog="python -m taxi_shared.engines.external_tables",
        description="Print the SQL that creates a service's tables over the lake.",
    )
    parser.add_argument("service", choices=SERVICES, help="service that reads the lake")
    parser.add_argument("address", help="data root as the service names it: s3://bucket/prefix")
    chosen = parser.parse_args(arguments)
    try:
        statements = SERVICES[chosen.service](chosen.address)
    except ValueError as error:
        parser.error(str(error))
    print("\n\n".join(f"{statement};" for statement in statements))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
