"""The `database` resource: DuckDB with the lake's tables as views."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field
from upath import UPath

from taxi_shared import settings, storage
from taxi_shared.lake import Lake, create_view
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES, Table


class LakeDatabase(DuckDBResource):
    """An in-memory DuckDB over the lake: views `trips`, `zones`, …, one connection a use.

    Nothing is stored in it; tables are written by `Lake.write`.
    """

    database: str = Field(default=":memory:", description="In memory: the lake is the store.")
    data_root: str = Field(description="Folder or s3:// address of all files.")
    memory_limit: str = Field(
        default="400MB", description="Memory DuckDB may use before it spills to disk."
    )

    @property
    def lake(self) -> Lake:
        return Lake(DataRoot.at(self.data_root))

    @contextmanager
    def get_connection(
        self,
        pickup_dates: tuple[date, date] | None = None,
        tables: Sequence[Table] | None = None,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with a view for every table of the lake, or for some.

        `pickup_dates` (first day, day after the last) leaves files out of `trips` that hold no
        pickup of those days.
        """
        with TemporaryDirectory(prefix="taxi-duckdb-") as spill:
            config: dict[str, Any] = {
                "memory_limit": self.memory_limit,
                "temp_directory": spill,
                **self.connection_config,
            }
            with duckdb.connect(self.database, config=config) as con:
                self.lake.root.attach(con)
                self.lake.create_views(con, pickup_dates, tables)
                yield con

    def publish(self) -> UPath:
        """Write the DuckDB file with views of the lake for people and BI tools; returns its path.

        The platform never opens it: an open DuckDB file keeps every other process out.
        """
        lake = self.lake
        address = settings.get(settings.DUCKDB_DATABASE)
        path = storage.at(address) if address else lake.root.staging / "data.duckdb"
        with (
            TemporaryDirectory(prefix="taxi-duckdb-") as folder,
            duckdb.connect(f"{folder}/data.duckdb") as con,
        ):
            lake.root.attach(con)
            for table in TABLES:
                if lake.files(table):
                    create_view(con, table, str(lake.file(table, "*")))
            con.close()
            storage.write_bytes(path, Path(f"{folder}/data.duckdb").read_bytes())
        return path


def lake_database() -> LakeDatabase:
    """The `database` resource that every location uses, configured by the environment."""
    return LakeDatabase(
        data_root=settings.for_resource(settings.DATA_ROOT),
        memory_limit=settings.for_resource(settings.MEMORY_LIMIT),
    )
