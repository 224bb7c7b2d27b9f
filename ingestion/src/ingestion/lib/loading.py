"""Load one month: replace it in the lake, as a whole, by the rows of its file.

A month that the lake has from the same file is left alone. One that does not pass its checks is not
shown to readers, who keep what they had.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from tempfile import gettempdir

import dagster as dg
import duckdb
from upath import UPath

from ingestion.lib import checks, conform, download, quality
from ingestion.lib.parquet_schema import DamagedFile, is_damage
from ingestion.lib.placement import PointQuery, ZoneShapes, place
from taxi_shared import provenance
from taxi_shared.lake import Lake, Replacement, Rows, Snapshot, parquet_rows
from taxi_shared.storage import DISK_FULL, literal
from taxi_shared.tables import Table


class LoadError(Exception):
    """A file could not be loaded."""


class RowsLost(LoadError):
    """A month would have other than its file's number of rows."""


class Implausible(LoadError):
    """A file has far fewer rows than its month should, or mostly those of other months."""


@dataclass(frozen=True)
class MonthFile:
    """The file of a month's trips.

    partition:   first day of the month, as in `2023-03-01`
    path:        where it is stored in `raw/`
    address:     where it is published; of a fetched file, without secrets
    sha256:      of its content; empty before it is fetched
    is_accepted: whether a person has accepted it although it looks implausible
    run_id:      of the run that loads it
    version:     of the table, to put the month back as it was then; else it is loaded
    """

    partition: str
    path: UPath
    address: str = ""
    sha256: str = ""
    is_accepted: bool = False
    run_id: str = ""
    version: int | None = None

    @property
    def month(self) -> str:
        """The month, as in `2023-03`."""
        return self.partition[:7]

    def discard(self, damage: Exception) -> DamagedFile:
        """Have the next load fetch this damaged file again; returns the error that says so."""
        download.discard(self.path)
        return DamagedFile(f"{damage}; it is fetched again at the next load")


@dataclass(frozen=True)
class LoadedMonth:
    """A month in the lake, and what is unusual about its trips.

    version:         the same for the same content that was read by the same SQL
    publisher:       who published the file, see `taxi_shared.provenance`
    unknown_columns: columns of the file that the platform does not describe, and did not load
    quality:         counts of unusual trips and of missing values, by their labels
    changed:         False where the lake had the month before
    table_version:   of the table, as its history counts; None where the month was left alone
    """

    rows: int
    bytes: int
    seconds: float
    version: str
    publisher: str
    unknown_columns: tuple[str, ...]
    quality: Mapping[str, int]
    first_rows: dg.MarkdownMetadataValue
    changed: bool
    table_version: int | None = None


def load(con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, file: MonthFile) -> LoadedMonth:
    """Replace a month of `table`, and of its table of days, by the rows of a file.

    con: no other thread may use it

    The month is left alone where it was made from the same content by the same SQL, and by the same
    zones where its trips have points instead of zones.

    Raises LayoutError where the file's columns are not those of its month, DamagedFile,
    ValueNotReadable for a value that does not fit, Implausible, SchemaMismatch, ZonesMissing and
    LoadError; readers then keep what they had. A damaged file is fetched again by the next load.
    """
    lake.root.attach(con)  # the keys of a role may end within a long range
    try:
        return _MonthLoad.plan(con, lake, table, file).run()
    except DamagedFile as error:
        raise file.discard(error) from error


def roll_back(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, file: MonthFile
) -> LoadedMonth:
    """Put a month of `table` back as it was in `file.version`.

    Raises ValueError where that version has no such month, or its file is removed already.
    """
    begin, partition = time.perf_counter(), file.partition
    details = {"month": file.month, "rolled back to": str(file.version), "run": file.run_id}
    made = lake.roll_back(table, partition, file.version or 0, details)
    month = describe(con, lake.snapshot(), table, partition)
    return replace(month, seconds=time.perf_counter() - begin, table_version=made)


def describe(
    con: duckdb.DuckDBPyConnection, lake: Snapshot, table: Table, partition: str
) -> LoadedMonth:
    """Describe a month as it is in the lake; without what only its load knows."""
    file = lake.files(table)[partition]
    return LoadedMonth(
        rows=parquet_rows(con, file.address),
        bytes=file.size or 0,
        seconds=0.0,
        version=lake.fingerprint(con, table, partition).rpartition(" ")[2],
        publisher=", ".join(lake.publishers(con, table, [partition])),
        unknown_columns=(),
        quality=quality.report(con, lake, table, partition),
        first_rows=lake.first_rows(con, table, partition),
        changed=True,
    )


@dataclass(frozen=True)
class _MonthLoad:
    """The load of one month.

    before:      the lake as it was when the load began
    zones:       where the trips have points instead of zones
    rows:        of the file
    fingerprint: what the month's files in the lake say in their footers
    """

    con: duckdb.DuckDBPyConnection
    lake: Lake
    before: Snapshot
    table: Table
    file: MonthFile
    reading: conform.ReadPlan
    zones: ZoneShapes | None
    rows: int
    publisher: str
    fingerprint: str

    @classmethod
    def plan(
        cls, con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, file: MonthFile
    ) -> "_MonthLoad":
        """Plan the load from the file's schema and footer."""
        reading = conform.plan_read(con, table, file.path, file.month)
        zones = ZoneShapes.load(con, lake) if reading.placements else None
        publisher = provenance.publisher(file.address, _is_synthetic(con, file.path))
        days = table.days.fingerprint_source if table.days else ""
        sql = f"{reading.query} {conform.any_of(reading.losses)}"
        version = hashlib.sha256(
            f"{file.sha256} {sql} {zones.fingerprint if zones else ''} {days} {publisher}".encode()
        ).hexdigest()
        return cls(
            *(con, lake, lake.snapshot(), table, file, reading, zones),
            rows=parquet_rows(con, file.path),
            publisher=publisher,
            fingerprint=f"{file.sha256} {version}",
        )

    @property
    def tables(self) -> list[Table]:
        """The tables of which the month is replaced."""
        return [self.table, self.table.days] if self.table.days else [self.table]

    def run(self) -> LoadedMonth:
        """Replace the month, unless it is in place already."""
        begin, partition = time.perf_counter(), self.file.partition
        in_place = [self.before.fingerprint(self.con, table, partition) for table in self.tables]
        if set(in_place) == {self.fingerprint}:
            try:
                return self.describe(begin, self.before, changed=False)
            except duckdb.Error as error:
                damaged = self.before.files(self.table)[partition].path
                dg.get_dagster_logger().warning(
                    f"{damaged} or its days are damaged ({error}); they are written again"
                )
        # Content that is in the lake already was found plausible, or accepted, when it came.
        is_known = in_place[0].startswith(f"{self.file.sha256} ")
        is_plausible = is_known or self.file.is_accepted
        if not is_plausible:
            self.check_number_of_rows()
        replacement = self.lake.replacement(self.tables, partition, self.commit_details)
        with self.errors_explained(), replacement as new:
            self.write_trips(new)
            self.write_days(new)
            if not is_plausible:
                self.check_strays(new)
            for table in self.tables:
                checks.check_columns(self.con, new.file(table), table)
        month = self.describe(begin, self.lake.snapshot(), changed=True)
        return replace(month, table_version=new.versions[self.table.name])

    @property
    def commit_details(self) -> dict[str, str]:
        """What the history of the table says of the load."""
        return {
            "month": self.file.month,
            "source": self.file.address,
            "sha256": self.file.sha256,
            "run": self.file.run_id,
        }

    def rows_of(self, query: str, **parameters: str) -> Rows:
        """The rows of a query, with what the footers of the month's files say."""
        return Rows(query, parameters, self.fingerprint, self.publisher)

    def write_trips(self, new: Replacement) -> None:
        """Write the new file of trips. Raises RowsLost."""
        file = literal(self.file.path)
        if self.zones:
            points = PointQuery(self.reading.points, file, self.rows)
            placed = place(self.con, self.zones, self.reading.placements, points)
            self.con.register("placed", placed)
        rows = new.write(self.con, self.table, self.rows_of(self.reading.query, file=file))
        if self.zones:
            self.con.unregister("placed")  # a byte and more per point
        if rows != self.rows:
            raise RowsLost(
                f"{self.file.path} has {self.rows:,} rows, and {rows:,} came out of it; the lake "
                "keeps what it had"
            )

    def write_days(self, new: Replacement) -> None:
        """Write the new file of days, which counts the new file of trips."""
        if days := self.table.days:
            trips = new.file(self.table)
            with quality.day_counts(self.con, self.reading, days, trips) as query:
                new.write(self.con, days, self.rows_of(query))

    def check_number_of_rows(self) -> None:
        """Raise Implausible for far fewer rows than in the lake, or than other months have."""
        month, rows = self.file.partition, self.before.rows
        found = {each: rows(self.con, self.table, each) for each in checks.compared_with(month)}
        others = {each: count for each, count in found.items() if count is not None}
        in_place = rows(self.con, self.table, month)
        self.refuse(checks.too_few_rows(month, self.rows, in_place, others))

    def check_strays(self, new: Replacement) -> None:
        """Raise Implausible for a file with mostly trips of other months."""
        if self.table.days:
            month = self.file.partition
            strays = checks.strays_in(self.con, new.file(self.table.days), month)
            self.refuse(checks.mostly_strays(month, strays, self.rows))

    def refuse(self, reason: str | None) -> None:
        """Raise Implausible if there is a reason to."""
        if reason:
            raise Implausible(f"{self.file.path}: {reason}. The lake keeps what it had.")

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Say of which file and value DuckDB speaks, which it often does not itself."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            if "failed to offload" not in str(error):
                raise LoadError(f"{self.file.month} was not loaded: {error}") from error
            raise LoadError(
                f"{self.file.month} was not loaded: no space left on {gettempdir()} for rows that "
                "do not fit into memory; free some, or set TAXI_DUCKDB_MEMORY to more, or "
                "TAXI_DUCKDB_SPILL if that is what is reached"
            ) from error
        except duckdb.Error as error:
            is_of_value = isinstance(
                error, (duckdb.ConversionException, duckdb.OutOfRangeException)
            )
            reason = None
            if is_of_value or is_damage(error):
                reason = conform.first_unreadable(self.con, self.reading)
            text = f"{self.file.path} could not be loaded into {self.table.name}: {error}"
            raise reason or LoadError(text) from error
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            named = re.search(r'"([^"]+)"', error.strerror or "")  # DuckDB may spill elsewhere
            folder = PurePath(named[1] if named else str(error.filename)).parent
            raise LoadError(
                f"{self.file.month} was not loaded: no space left on {folder}"
            ) from error

    def describe(self, begin: float, lake: Snapshot, changed: bool) -> LoadedMonth:
        """The month as it is in the lake."""
        return replace(
            describe(self.con, lake, self.table, self.file.partition),
            seconds=time.perf_counter() - begin,
            unknown_columns=self.reading.unknown_columns,
            changed=changed,
        )


def _is_synthetic(con: duckdb.DuckDBPyConnection, file: UPath) -> bool:
    """Whether a raw file says in its footer that its trips are invented; see `make sample`."""
    ((found,),) = con.execute(
        "SELECT count(*) FROM parquet_kv_metadata($file) WHERE key = 'synthetic'::BLOB",
        {"file": literal(file)},
    ).fetchall()
    return bool(found)
