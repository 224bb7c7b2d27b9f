"""The lake: tables of Parquet files, written by DuckDB, with a log that says which files count.

    staging/trips/_delta_log/
    staging/trips/partition_date=2023-03-01/trips-5f0c….parquet
    staging/zones/zones-91ab….parquet

A load writes new files beside those in place and then commits them: loading a partition again gives
the same result, loads of different partitions do not conflict, and readers see the files of one
moment. Files that no longer count stay for a while, so that a version can be put back. The format
is Delta Lake, which other engines read too; see `taxi_shared.table_log`.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import dagster as dg
import duckdb
from upath import UPath

from taxi_shared import pickup_days, preview, provenance, storage
from taxi_shared.storage import DataRoot
from taxi_shared.table_log import Commit, LakeFile, TableLog
from taxi_shared.tables import TABLES, Table

_TRIPS_OF = {table.days.name: table for table in TABLES if table.days}


class DamagedLakeFile(duckdb.Error):
    """A file of the lake cannot be read. The message names it and says what to do."""


@dataclass(frozen=True)
class Rows:
    """Rows to write to a file: those of a query, in its order.

    fingerprint: a text that is equal for files of equal content; see `Lake.fingerprint`
    publisher:   who published the data; see `Lake.publishers`

    The footer of the file keeps the last two.
    """

    query: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    fingerprint: str = ""
    publisher: str = ""


@dataclass(frozen=True)
class Replacement:
    """New files of a partition, by the names of their tables; see `Lake.replacement`.

    rows:     how many were written
    versions: those of the tables that the commits have made, once the files are in place
    """

    files: Mapping[str, UPath]
    rows: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def file(self, table: Table) -> str:
        """The address of a table's new file."""
        return str(self.files[table.name])

    def write(self, con: duckdb.DuckDBPyConnection, table: Table, rows: Rows) -> int:
        """Write a table's new file and return the number of its rows."""
        ((count,),) = con.execute(
            # zstd at level 2 takes a twentieth less time than at level 3, for a hundredth more
            # disk; at level 1, files of large months would be larger than TLC's.
            # No query selects single values, which Bloom filters are for; times have too many
            # values for a dictionary, which DuckDB notices sooner with this limit. Each of the two
            # saves a twentieth of the time.
            f"COPY ({rows.query}) TO $target (FORMAT parquet, COMPRESSION zstd, "
            "COMPRESSION_LEVEL 2, WRITE_BLOOM_FILTER false, DICTIONARY_SIZE_LIMIT 8192, "
            "KV_METADATA {fingerprint: $fingerprint, publisher: $publisher})",
            {
                **rows.parameters,
                "target": self.file(table),
                "fingerprint": rows.fingerprint,
                "publisher": rows.publisher,
            },
        ).fetchall()
        self.rows[table.name] = int(count)
        return int(count)


@dataclass(frozen=True)
class Snapshot:
    """The lake's tables at one moment: the log of each is read once.

    as_of: a table of trips and the version of it to read instead of the current one
    """

    root: DataRoot
    as_of: tuple[Table, int] | None = None
    _files: dict[str, dict[str, LakeFile]] = field(default_factory=dict)
    _chosen: dict[tuple[str, tuple[date, date]], set[str]] = field(default_factory=dict)

    def files(self, table: Table) -> dict[str, LakeFile]:
        """Map the partitions of a table to their files, sorted; a table without has one, "".

        Raises StoreError, ValueError for a version that the log does not have.
        """
        if table.name not in self._files:
            self._files[table.name] = self._read(table)
        return self._files[table.name]

    def _read(self, table: Table) -> dict[str, LakeFile]:
        if trips := _TRIPS_OF.get(table.name):
            # The log of trips decides for both: a reader never sees trips and days of two loads.
            folder = self.folder(table)
            return {
                partition: replace(
                    file,
                    folder=folder,
                    name=_days_name(table, trips, file),
                    size=None,
                    rows=None,
                )
                for partition, file in self.files(trips).items()
            }
        chosen, version = self.as_of or (None, None)
        return log_of(self.root, table).files(version if table == chosen else None)

    def folder(self, table: Table) -> UPath:
        """The folder of a table, below which its files are."""
        return log_of(self.root, table).folder

    def file(self, table: Table, partition: str = "") -> LakeFile | None:
        """The file of a partition (`2023-03-01`), or of a table without partitions, if there."""
        return self.files(table).get(partition)

    def versions(self, table: Table) -> dict[str, str]:
        """Map the partitions of a table to a text that changes when their file is replaced."""
        return {partition: file.name for partition, file in self.files(table).items()}

    def rows(self, con: duckdb.DuckDBPyConnection, table: Table, partition: str = "") -> int | None:
        """Return the rows of a file, from its footer; None if it is missing or damaged."""
        if file := self.file(table, partition):
            with suppress(duckdb.Error):
                return parquet_rows(con, file.address)
        return None

    def first_rows(
        self, con: duckdb.DuckDBPyConnection, table: Table, partition: str = ""
    ) -> dg.MarkdownMetadataValue:
        """Return the first rows of a file, for an asset's page."""
        path = self.files(table)[partition].address
        found = con.execute(
            f"FROM read_parquet($file, hive_partitioning = false) LIMIT {preview.ROWS}",
            {"file": storage.literal(path)},
        )
        names = [column.name for column in table.columns]
        return preview.first_rows(names, found.fetchall(), parquet_rows(con, path))

    def fingerprint(self, con: duckdb.DuckDBPyConnection, table: Table, partition: str = "") -> str:
        """Return the fingerprint in a file's footer; empty if there is none.

        A missing or damaged file has none.
        """
        if (file := self.file(table, partition)) is None:
            return ""
        try:
            found = con.execute(
                "SELECT decode(value) FROM parquet_kv_metadata($file) "
                "WHERE key = 'fingerprint'::BLOB",
                {"file": storage.literal(file.address)},
            ).fetchall()
        except duckdb.Error:
            return ""
        return found[0][0] if found else ""

    def publishers(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table,
        partitions: Collection[str] | None = None,
    ) -> list[str]:
        """Return the publishers of the data of some partitions, or of all; see `provenance`.

        Files written before this was recorded have `provenance.UNKNOWN`.
        """
        files = [
            storage.literal(file.address)
            for partition, file in self.files(table).items()
            if partitions is None or partition in partitions
        ]
        if not files:
            return []
        found = con.execute(
            "SELECT decode(value) FROM parquet_kv_metadata($files) "
            "WHERE decode(key) = 'publisher' AND octet_length(value) > 0",
            {"files": files},
        ).fetchall()
        known = sorted({publisher for (publisher,) in found})
        return known if len(found) == len(files) else [*known, provenance.UNKNOWN]

    def create_views(
        self,
        con: duckdb.DuckDBPyConnection,
        pickup_dates: tuple[date, date] | None = None,
        tables: Sequence[Table] | None = None,
    ) -> None:
        """Create a view for every table, or for `tables`; a table without files is empty.

        With `pickup_dates` (first day, day after the last), `trips` and `trip_days` have only the
        files of `files_on`: a week is read without opening every file. Creating a view opens all
        files of its table: name the `tables` that a query needs.
        """
        for table in TABLES if tables is None else tables:
            if files := self.files_on(con, table, pickup_dates):
                create_view(con, table, [file.address for file in files])
            else:
                _create_empty_view(con, table)

    def index_pickup_days(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write the indexes by which questions find the files of their days."""
        for days in (table.days for table in TABLES if table.days):
            if files := self.files(days).values():
                with _damage_named(con, [file.address for file in files]):
                    pickup_days.update(con, self.folder(days), files)

    def files_on(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table,
        pickup_dates: tuple[date, date] | None = None,
    ) -> list[LakeFile]:
        """The files of a table; with `pickup_dates`, those that count for these days.

        These are the files with pickups on these days, see `taxi_shared.pickup_days`; of counts by
        day also those of the days' months, which show that a month is loaded.
        """
        files = self.files(table)
        days = table if table.name in _TRIPS_OF else table.days
        if not (files and days and pickup_dates):
            return list(files.values())
        key = days.name, pickup_dates
        if key not in self._chosen:
            counts, folder = self.files(days).values(), self.folder(days)
            with _damage_named(con, [file.address for file in counts]):
                found = pickup_days.partitions_with_pickups(con, folder, counts, pickup_dates)
            self._chosen[key] = found
        chosen = self._chosen[key]
        if table == days:
            first, end = pickup_dates[0].replace(day=1).isoformat(), pickup_dates[1].isoformat()
            chosen = chosen | {partition for partition in files if first <= partition < end}
        return [file for partition, file in files.items() if partition in chosen]


@dataclass(frozen=True)
class Lake:
    """The tables below a data root."""

    root: DataRoot

    def snapshot(self, as_of: tuple[Table, int] | None = None) -> Snapshot:
        """The tables as they are now, or one table of trips as of a version."""
        return Snapshot(self.root, as_of)

    @contextmanager
    def replacement(
        self,
        tables: Sequence[Table],
        partition: str = "",
        details: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[Replacement]:
        """Replace a partition of some tables together: the block writes the new files.

        Once the block succeeds, the files are committed with `details`, a table's days before its
        trips, which readers go by. If the process dies before, readers keep what they had. Raises
        CommitConflict, StoreError.
        """
        for table in tables:
            if (pair := table.days or _TRIPS_OF.get(table.name)) and pair not in tables:
                raise ValueError(f"{table.name} and {pair.name} are replaced together")
        token = uuid.uuid4().hex
        names = {table.name: _name(table, partition, token) for table in tables}
        new = {t.name: log_of(self.root, t).folder / names[t.name] for t in tables}
        with ExitStack() as on_failure:
            for path in new.values():
                storage.make_parent(path)
                on_failure.callback(storage.remove, path)
            replaced = Replacement(new)
            with storage.disk_full_explained(next(iter(new.values()))):
                yield replaced
            on_failure.pop_all()
        for table in sorted(tables, key=lambda table: table.name not in _TRIPS_OF):
            path, log = new[table.name], log_of(self.root, table)
            with storage.disk_full_explained(path):
                storage.persist(path)
                rows, size = replaced.rows.get(table.name), path.stat().st_size
                name, now = names[table.name], datetime.now(UTC)
                file = LakeFile(log.folder, name, partition, size, now, rows)
                replaced.versions[table.name] = log.commit(file, details)

    def write(
        self, con: duckdb.DuckDBPyConnection, table: Table, rows: Rows, partition: str = ""
    ) -> None:
        """Replace a partition of a table without days."""
        with self.replacement([table], partition) as new:
            new.write(con, table, rows)

    def history(self, table: Table) -> list[Commit]:
        """Return the commits of a table's log, newest first."""
        return log_of(self.root, table).history()

    def roll_back(
        self, table: Table, partition: str, version: int, details: Mapping[str, str]
    ) -> int:
        """Put back a partition of a table, and of its days, as it was in a version.

        The files of that version are copied: a vacuum may be about to remove them. Returns the
        version that this makes. Raises ValueError where that version has no such partition, or its
        file is removed already.
        """
        then = self.snapshot((table, version))
        if partition not in then.files(table):
            raise ValueError(f"version {version} of {table.name} has no {partition}")
        tables = [table.days, table] if table.days else [table]
        with self.replacement(tables, partition, details) as new:
            for each in tables:
                file = then.files(each)[partition]
                try:
                    storage.copy(file.path, new.files[each.name])
                except FileNotFoundError:
                    raise ValueError(
                        f"{file.path} of version {version} was removed after its retention: load "
                        f"{partition or table.name} again"
                    ) from None
                if file.rows is not None:
                    new.rows[each.name] = file.rows
        return new.versions[table.name]

    def vacuum(self, retention: timedelta) -> list[str]:
        """Remove the files that no version within the retention has; return their paths."""
        removed = []
        for trips in _TRIPS_OF.values():
            self._repair_days(trips)
        for table in TABLES:
            removed += log_of(self.root, table).vacuum(retention)
        return removed

    def _repair_days(self, trips: Table) -> None:
        """Commit the days of trips whose commit is missing: a load has ended before it."""
        current = self.snapshot()
        days = trips.days or trips
        logged = log_of(self.root, days).files()
        for partition, file in current.files(days).items():
            if (there := logged.get(partition)) is None or there.name != file.name:
                log_of(self.root, days).commit(file, {"reason": "the log of trips has this file"})


def log_of(root: DataRoot, table: Table) -> TableLog:
    """The log of a table below a data root."""
    return TableLog(root.staging / table.name, table)


def _name(table: Table, partition: str, token: str) -> str:
    """Return the path of a new file below its table's folder."""
    folder = f"{table.partition_by.name}={partition}/" if table.partition_by else ""
    return f"{folder}{table.name}-{token}.parquet"


def _days_name(days: Table, trips: Table, file: LakeFile) -> str:
    """Return the path of the days of a file of trips below their folder: they share a token."""
    folder, _, name = file.name.rpartition("/")
    return f"{folder}/{days.name}{name.removeprefix(trips.name)}"


def parquet_rows(con: duckdb.DuckDBPyConnection, path: UPath | str) -> int:
    """Return the number of rows in a Parquet file's footer. Raises duckdb.Error if damaged."""
    ((rows,),) = con.execute(
        "SELECT num_rows FROM parquet_file_metadata($file)", {"file": storage.literal(path)}
    ).fetchall()
    return int(rows)


def create_view(con: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[str]) -> None:
    """Create a view of a table over files.

    A file written before a column was added has NULL there. A column that no file has is not in the
    view: a query of it fails. Raises DamagedLakeFile.
    """
    # A view has no parameters: DuckDB itself quotes the paths. Its own hive partitioning would take
    # a folder `vendor_id=7` above the data root for a partition too, and overwrite the column. So
    # the view takes the partition from the file's own folder; filters on it still skip files.
    files = [storage.literal(path) for path in paths]
    source = (
        f"read_parquet({duckdb.ConstantExpression(files)}, "
        "hive_partitioning = false, union_by_name = true, filename = true)"
    )
    with _damage_named(con, paths):
        found = {name for name, *_ in con.execute(f"DESCRIBE FROM {source}").fetchall()}
    columns = [column.name for column in table.columns if column.name in found]
    if by := table.partition_by:
        value = f"regexp_extract(filename, '{by.name}=([^/]*)/[^/]*$', 1)"
        columns.append(f"CAST({value} AS {by.type}) AS {by.name}")
    selected = ", ".join(columns)
    # Names of our own tables and columns, and paths that DuckDB quotes.
    con.execute(f"CREATE OR REPLACE VIEW {table.name} AS SELECT {selected} FROM {source}")  # noqa: S608 - see above


@contextmanager
def _damage_named(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> Iterator[None]:
    """Name the first file with an unreadable footer, which DuckDB's errors seldom do."""
    try:
        yield
    except duckdb.Error as first_error:
        for path in paths:
            try:
                parquet_rows(con, path)
            except duckdb.Error as error:
                text = f"{path} is damaged ({error}): materialize it again"
                raise DamagedLakeFile(text) from None
        raise first_error from None


def _create_empty_view(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    columns = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in table.all_columns)
    con.execute(f"CREATE OR REPLACE VIEW {table.name} AS SELECT {columns} WHERE false")
