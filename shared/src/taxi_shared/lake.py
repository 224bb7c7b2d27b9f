"""The lake: tables as folders of Parquet files, written by DuckDB and readable by any engine.

    staging/trips/partition_date=2023-03-01/trips.parquet
    staging/zones/zones.parquet

A file is replaced as a whole: loading a partition again gives the same result, loads of different
partitions do not conflict, and readers are never blocked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date

import dagster as dg
import duckdb
from upath import UPath

from taxi_shared import preview, provenance, storage
from taxi_shared.storage import DataRoot, atomic_path
from taxi_shared.tables import TABLES, Table


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
    """New files of a partition, by the names of their tables; see `Lake.replacement`."""

    files: Mapping[str, str]

    def file(self, table: Table) -> str:
        """The address of a table's new file."""
        return self.files[table.name]

    def write(self, con: duckdb.DuckDBPyConnection, table: Table, rows: Rows) -> int:
        """Write a table's new file and return the number of its rows."""
        ((count,),) = con.execute(
            # zstd at level 1 takes a sixth less time than at level 3, for a sixteenth more disk.
            # No query selects single values, which Bloom filters are for; times have too many
            # values for a dictionary, which DuckDB notices sooner with this limit. Each of the two
            # saves a twentieth of the time.
            f"COPY ({rows.query}) TO $target (FORMAT parquet, COMPRESSION zstd, "
            "COMPRESSION_LEVEL 1, WRITE_BLOOM_FILTER false, DICTIONARY_SIZE_LIMIT 8192, "
            "KV_METADATA {fingerprint: $fingerprint, publisher: $publisher})",
            {
                **rows.parameters,
                "target": self.file(table),
                "fingerprint": rows.fingerprint,
                "publisher": rows.publisher,
            },
        ).fetchall()
        return int(count)


@dataclass(frozen=True)
class Lake:
    """The tables below a data root."""

    root: DataRoot

    def folder(self, table: Table) -> UPath:
        """The folder of a table's files."""
        return self.root.staging / table.name

    def file(self, table: Table, partition: str | None = None) -> UPath:
        """The file of a partition (`2023-03-01`), or of a table without partitions."""
        return self.folder(table) / _name(table, partition)

    def files(self, table: Table) -> list[UPath]:
        """The files of a table that exist, sorted."""
        return [path for path, _ in self._entries(table).values()]

    def versions(self, table: Table) -> dict[str, str]:
        """Map the partitions of a table to a text that changes when their file is replaced.

        A table without partitions has one partition "".
        """
        return {partition: version for partition, (_, version) in self._entries(table).items()}

    def _entries(self, table: Table) -> dict[str, tuple[UPath, str]]:
        """Map the partitions of a table to their file and its version."""
        found = {}
        folder = self.folder(table)
        start = len(str(folder)) + 1
        for path, version in storage.versions_below(folder).items():
            name = str(path)[start:]
            partition = name.partition("/")[0].partition("=")[2]
            if name == _name(table, partition):
                found[partition] = path, version
        return found

    def pattern(self, table: Table) -> str:
        """A pattern for DuckDB's readers that matches every file of a table, future ones too."""
        return f"{storage.literal(self.folder(table))}/{_name(table, '*')}"

    @contextmanager
    def replacement(
        self, tables: Sequence[Table], partition: str | None = None
    ) -> Iterator[Replacement]:
        """Replace a partition of some tables together: the block writes the new files.

        The files stay hidden until the block succeeds; then they are moved into place, one right
        after the other, in the order of `tables`. If the process dies between two moves, the files
        are of two loads, and their fingerprints differ.
        """
        with ExitStack() as stack:  # it exits its contexts in reverse order
            yield Replacement(
                {
                    table.name: stack.enter_context(atomic_path(self.file(table, partition)))
                    for table in reversed(tables)
                }
            )

    def write(
        self, con: duckdb.DuckDBPyConnection, table: Table, rows: Rows, partition: str | None = None
    ) -> None:
        """Replace a partition of one table."""
        with self.replacement([table], partition) as new:
            new.write(con, table, rows)

    def size(
        self, con: duckdb.DuckDBPyConnection, table: Table, partition: str | None = None
    ) -> tuple[int, int]:
        """Return the number of rows of a file, from its footer, and its bytes."""
        path = self.file(table, partition)
        return parquet_rows(con, path), path.stat().st_size

    def rows(
        self, con: duckdb.DuckDBPyConnection, table: Table, partition: str | None = None
    ) -> int | None:
        """Return the rows of a file, from its footer; None if it is missing or damaged."""
        path = self.file(table, partition)
        if not path.is_file():
            return None
        try:
            return parquet_rows(con, path)
        except duckdb.Error:
            return None

    def first_rows(
        self, con: duckdb.DuckDBPyConnection, table: Table, partition: str | None = None
    ) -> dg.MarkdownMetadataValue:
        """Return the first rows of a file, for an asset's page."""
        found = con.execute(
            f"FROM read_parquet($file, hive_partitioning = false) LIMIT {preview.ROWS}",
            {"file": storage.literal(self.file(table, partition))},
        )
        names = [column.name for column in table.columns]
        return preview.first_rows(names, found.fetchall(), self.size(con, table, partition)[0])

    def fingerprint(
        self, con: duckdb.DuckDBPyConnection, table: Table, partition: str | None = None
    ) -> str:
        """Return the fingerprint in a file's footer; empty if there is none.

        A missing or damaged file has none.
        """
        path = self.file(table, partition)
        if not path.is_file():
            return ""
        try:
            found = con.execute(
                "SELECT decode(value) FROM parquet_kv_metadata($file) "
                "WHERE key = 'fingerprint'::BLOB",
                {"file": storage.literal(path)},
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
            storage.literal(path)
            for partition, (path, _) in self._entries(table).items()
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

        With `pickup_dates` (first day, day after the last), `trips` has only the files with pickups
        on those days: a week is read without opening every file. Creating a view opens all files of
        its table: name the `tables` that a query needs.
        """
        for table in TABLES if tables is None else tables:
            if table.days and pickup_dates:
                files = self._files_with_pickups(con, table, table.days, pickup_dates)
            else:
                files = self.files(table)
            if files:
                create_view(con, table, [storage.literal(file) for file in files])
            else:
                _create_empty_view(con, table)

    def _files_with_pickups(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table,
        days: Table,
        pickup_dates: tuple[date, date],
    ) -> list[UPath]:
        """Return the files of a table of trips with pickups on those days, by its `days` table."""
        first, end = pickup_dates
        found = con.execute(
            f"SELECT DISTINCT partition_date FROM {days.name} "  # noqa: S608 - our own table
            "WHERE pickup_date >= $first AND pickup_date < $end ORDER BY partition_date",
            {"first": first, "end": end},
        ).fetchall()
        return [self.file(table, partition.isoformat()) for (partition,) in found]


def _name(table: Table, partition: str | None) -> str:
    """Return the path of a file below its table's folder."""
    folder = f"{table.partition_by.name}={partition}/" if table.partition_by else ""
    return f"{folder}{table.name}.parquet"


def parquet_rows(con: duckdb.DuckDBPyConnection, path: UPath | str) -> int:
    """Return the number of rows in a Parquet file's footer. Raises duckdb.Error if damaged."""
    ((rows,),) = con.execute(
        "SELECT num_rows FROM parquet_file_metadata($file)", {"file": storage.literal(path)}
    ).fetchall()
    return int(rows)


def create_view(con: duckdb.DuckDBPyConnection, table: Table, files: str | list[str]) -> None:
    """Create a view of a table over files (through `storage.literal`) or over `Lake.pattern`.

    A file written before a column was added has NULL there. A column that no file has is not in the
    view: a query of it fails. Raises DamagedLakeFile.
    """
    # A view has no parameters: DuckDB itself quotes the paths. Its own hive partitioning would take
    # a folder `vendor_id=7` above the data root for a partition too, and overwrite the column. So
    # the view takes the partition from the file's own folder; filters on it still skip files.
    source = (
        f"read_parquet({duckdb.ConstantExpression(files)}, "
        "hive_partitioning = false, union_by_name = true, filename = true)"
    )
    try:
        found = {name for name, *_ in con.execute(f"DESCRIBE FROM {source}").fetchall()}
    except duckdb.Error as error:
        raise _damage(con, files) or error from None
    columns = [column.name for column in table.columns if column.name in found]
    if by := table.partition_by:
        value = f"regexp_extract(filename, '{by.name}=([^/]*)/[^/]*$', 1)"
        columns.append(f"CAST({value} AS {by.type}) AS {by.name}")
    selected = ", ".join(columns)
    # Names of our own tables and columns, and paths that DuckDB quotes.
    con.execute(f"CREATE OR REPLACE VIEW {table.name} AS SELECT {selected} FROM {source}")  # noqa: S608 - see above


def _damage(con: duckdb.DuckDBPyConnection, files: str | list[str]) -> DamagedLakeFile | None:
    """Find the first file with an unreadable footer; DuckDB's errors seldom name the file."""
    for (file,) in con.execute("SELECT file FROM glob($files)", {"files": files}).fetchall():
        try:
            parquet_rows(con, file)
        except duckdb.Error as error:
            return DamagedLakeFile(f"{file} is damaged ({error}): materialize it again")
    return None


def _create_empty_view(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    columns = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in table.all_columns)
    con.execute(f"CREATE OR REPLACE VIEW {table.name} AS SELECT {columns} WHERE false")
