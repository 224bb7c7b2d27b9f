"""The `database` resource: DuckDB with the lake's tables as views, locked down."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field
from upath import UPath

from taxi_shared import settings, storage
from taxi_shared.lake import Lake, create_view
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES, Table

# Nothing but what the project itself loads may run inside DuckDB.
_NO_FOREIGN_CODE: Final = {
    "allow_unsigned_extensions": False,
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
}


class LakeDatabase(SetByEnvironment, DuckDBResource):
    """An in-memory DuckDB over the lake: views `trips`, `zones`, …, one connection per use.

    Nothing is stored in it; tables are written by `Lake.write`. A connection reads and writes files
    below the data root only, loads no extensions, and its configuration is locked.
    """

    database: str = Field(default=":memory:", description="In memory: the lake is the store.")
    data_root: str = Field(description="Folder or s3:// address of all files.")
    memory_limit: str = Field(
        default="400MB", description="Memory DuckDB may use before it spills to disk."
    )
    spill_limit: str = Field(
        default="50GB", description="Disk DuckDB may use for what does not fit into memory."
    )

    @property
    def lake(self) -> Lake:
        return Lake(DataRoot.at(self.data_root))

    @contextmanager
    def get_connection(
        self,
        pickup_dates: tuple[date, date] | None = None,
        tables: Sequence[Table] | None = None,
        options: Mapping[str, str | int] = MappingProxyType({}),
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with a view for every table of the lake, or for some.

        `pickup_dates` (first day, day after the last) leaves files out of `trips` that hold no
        pickup of those days. `options` of DuckDB are for this connection, whose configuration is
        locked once it is open.
        """
        with (
            TemporaryDirectory(prefix=storage.SPILL_PREFIX) as spill,
            self._connect(self.database, spill, options) as con,
        ):
            self.lake.create_views(con, pickup_dates, tables)
            yield con

    def publish(self) -> UPath:
        """Write the DuckDB file with views of the lake for people and BI tools; returns its path.

        The platform never opens it: an open DuckDB file keeps every other process out.
        """
        lake = self.lake
        address = settings.load().duckdb_database
        path = (
            storage.at(address, "DUCKDB_DATABASE") if address else lake.root.staging / "data.duckdb"
        )
        with (
            TemporaryDirectory(prefix=storage.SPILL_PREFIX) as folder,
            self._connect(f"{folder}/data.duckdb", folder) as con,
        ):
            for table in TABLES:
                if lake.files(table):
                    create_view(con, table, lake.pattern(table))
            con.close()
            storage.write_bytes(path, Path(f"{folder}/data.duckdb").read_bytes())
        return path

    def _connect(
        self, database: str, scratch: str, options: Mapping[str, str | int] = MappingProxyType({})
    ) -> duckdb.DuckDBPyConnection:
        """Open DuckDB, able to reach files below the data root and the scratch folder only.

        What protects comes after the caller's options, so that none can undo it.
        """
        con = duckdb.connect(
            database,
            config={
                **self.connection_config,
                **options,
                "memory_limit": self.memory_limit,
                "temp_directory": scratch,
                "max_temp_directory_size": self.spill_limit,
                **_NO_FOREIGN_CODE,
            },
        )
        root = self.lake.root
        root.attach(con)
        base = str(root.base).rstrip("/")
        # DuckDB compares what its readers get, which is the escaped path, with these as text.
        folders = dict.fromkeys((base, storage.literal(base), scratch))
        con.execute("SET allowed_directories = ?", [[f"{folder}/" for folder in folders]])
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        return con


def lake_database() -> LakeDatabase:
    """The `database` resource that every location uses, configured by the environment."""
    return LakeDatabase(
        data_root=settings.for_resource("data_root"),
        memory_limit=settings.for_resource("duckdb_memory"),
        spill_limit=settings.for_resource("duckdb_spill"),
    )
