"""The `database` resource: DuckDB with the lake's tables as views, locked down."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field
from upath import UPath

from taxi_shared import machine, settings, storage
from taxi_shared.lake import Lake, Snapshot, create_view
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.run_process import end_when_cancelled
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES, Table

# DuckDB runs only the extensions that the project loads itself.
_OWN_EXTENSIONS_ONLY: Final = {
    "allow_unsigned_extensions": False,
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
}
# What a month that one core loads needs at least; with less, DuckDB spills all the time.
MIN_BYTES_PER_CORE: Final = 100_000_000


class LakeDatabase(SetByEnvironment, DuckDBResource):
    """An in-memory DuckDB with the lake's tables as views: `trips`, `zones`, and so on.

    It stores nothing; `Lake.write` writes tables. A connection reads and writes files below the
    data root only, loads no extensions, and its configuration is locked.
    """

    database: str = Field(default=":memory:", description="In memory: the lake is the store.")
    data_root: str = Field(description="Folder or address of all files.")
    memory_limit: str = Field(
        default="400MB", description="Memory DuckDB may use before it spills to disk."
    )
    spill_limit: str = Field(
        default="50GB", description="Disk DuckDB may use for what does not fit into memory."
    )

    @property
    def lake(self) -> Lake:
        """The lake below the data root."""
        return Lake(DataRoot.at(self.data_root))

    @property
    def cores(self) -> int:
        """How many of the machine's cores DuckDB's memory suffices for, at least one."""
        with duckdb.connect(config={"memory_limit": self.memory_limit}) as con:
            limit = con.execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))")
            sufficient: int = round(limit.fetchall()[0][0] / MIN_BYTES_PER_CORE)
        return max(1, min(machine.cores(), sufficient))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Check the run's config, and watch whether the run is cancelled."""
        super().setup_for_execution(context)
        if context.run and context.instance:
            end_when_cancelled(context.instance, context.run.run_id)

    @contextmanager
    def get_connection(
        self,
        pickup_dates: tuple[date, date] | None = None,
        tables: Sequence[Table] | None = None,
        options: Mapping[str, str | int] = MappingProxyType({}),
        snapshot: Snapshot | None = None,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection with a view for every table of the lake, or for `tables`.

        The views show the lake of one moment, that of `snapshot` or now.

        With `pickup_dates` (first day, day after the last), `trips` and `trip_days` skip files that
        do not count for those days. `options` are settings of DuckDB for this connection, whose
        configuration is locked once it is open.
        """
        with (
            TemporaryDirectory(prefix=storage.SPILL_PREFIX) as spill,
            self._connect(self.database, spill, options) as con,
        ):
            (snapshot or self.lake.snapshot()).create_views(con, pickup_dates, tables)
            with _interrupts_raised():
                yield con

    def publish(self) -> UPath:
        """Write the DuckDB file with views of the lake, for people and BI tools; return its path.

        The platform never opens it: an open DuckDB file locks out every other process. The indexes
        of the lake are written too.
        """
        lake = self.lake
        address = settings.load().duckdb_database
        path = (
            storage.path_at(address, "DUCKDB_DATABASE")
            if address
            else lake.root.staging / "data.duckdb"
        )
        published = None
        # Of several that publish at once, the last one has the newest files.
        while published != (current := _files_by_table(snapshot := lake.snapshot())):
            with TemporaryDirectory(prefix=storage.SPILL_PREFIX) as folder:
                with self._connect(f"{folder}/data.duckdb", folder) as con:
                    for table, paths in current:
                        create_view(con, table, paths)
                    snapshot.index_pickup_days(con)
                storage.write_bytes(path, Path(f"{folder}/data.duckdb").read_bytes())
            published = current
        return path

    def _connect(
        self, database: str, scratch: str, options: Mapping[str, str | int] = MappingProxyType({})
    ) -> duckdb.DuckDBPyConnection:
        """Open DuckDB with access to the data root and the scratch folder only.

        The protective settings come after the caller's options, which cannot undo them.
        """
        con = duckdb.connect(
            database,
            config={
                **self.connection_config,
                **options,
                "memory_limit": self.memory_limit,
                "temp_directory": scratch,
                "max_temp_directory_size": self.spill_limit,
                # A connection reads few bytes twice. A cache of all that was read took 0.5 GB for a
                # query of all trips of 17 years, and no less time.
                "enable_external_file_cache": False,
                **_OWN_EXTENSIONS_ONLY,
            },
        )
        root = self.lake.root
        root.attach(con)
        base = str(root.base).rstrip("/")
        # DuckDB compares these, as text, with the escaped paths that its readers get.
        folders = dict.fromkeys((base, storage.literal(base), scratch))
        con.execute("SET allowed_directories = ?", [[f"{folder}/" for folder in folders]])
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        return con


def _files_by_table(lake: Snapshot) -> list[tuple[Table, list[str]]]:
    """The tables that have files, and these."""
    found = [(table, [file.address for file in lake.files(table).values()]) for table in TABLES]
    return [(table, paths) for table, paths in found if paths]


@contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Raise what the handler of a signal has raised, which DuckDB hides: a run was cancelled.

    DuckDB calls the handler during a query, and raises RuntimeError("Query interrupted").
    """
    try:
        yield
    except RuntimeError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        raise error.__cause__ from None


def lake_database() -> LakeDatabase:
    """Return the `database` resource of every location, configured by the environment."""
    return LakeDatabase(
        data_root=settings.for_resource("data_root"),
        memory_limit=settings.for_resource("duckdb_memory"),
        spill_limit=settings.for_resource("duckdb_spill"),
    )
