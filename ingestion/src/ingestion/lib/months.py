"""Months of trip files: fetched side by side, each loaded as soon as it is there.

A month that fails does not hold up the others, and a month that is already done is not done again.
A month replaces the one in the lake as a whole, after it has passed its checks.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePath

import dagster as dg
import duckdb
from upath import UPath

from ingestion.lib import checks, conform, quality
from ingestion.lib.download import Backoff, SourceMetadata, download, is_parquet
from ingestion.lib.placement import PointQuery, ZoneShapes, place
from taxi_shared import provenance
from taxi_shared.lake import Lake, parquet_rows
from taxi_shared.storage import DISK_FULL, literal
from taxi_shared.tables import Table

# While two months are loaded, each by one core, the next ones are fetched. Of large months there is
# one at a time: some memory grows with the rows.
FETCHED_AT_ONCE = 4
LOADED_AT_ONCE = 2
LARGE_MONTH = 8_000_000
_large = threading.Semaphore(1)


class LoadError(Exception):
    """A file could not be loaded."""


class RowsLost(LoadError):
    """A month would have other than its file's number of rows."""


class Implausible(LoadError):
    """A file has far fewer rows than its month should, or mostly those of other months."""


@dataclass(frozen=True)
class Source:
    """Where a month's file is published, and where it goes."""

    partition: str
    address: str
    path: UPath

    @property
    def month(self) -> str:
        return self.partition[:7]


@dataclass(frozen=True)
class Fetched:
    """The outcome of fetching a month: the file's metadata or an error, and the seconds it took.

    `changed` is False where the file was there already.
    """

    metadata: SourceMetadata | None
    error: Exception | None
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Loaded:
    """A month in the lake, with the report of what is strange in it.

    `version` is equal for equal content, read by the same SQL; `changed` is False where the lake
    had the month before.
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


@dataclass(frozen=True)
class Month:
    """What became of a month: its file, and its rows, or why they are not in the lake."""

    source: Source
    fetched: Fetched
    loaded: Loaded | None = None
    error: Exception | None = None


def side_by_side(
    sources: Sequence[Source],
    fetch: Callable[[Source, threading.Event], Fetched],
    load: Callable[[Source, Fetched], Month],
) -> Iterator[Month]:
    """Fetch months, and load each as soon as it is there; yields each that is done or has failed.

    The event is set when nobody waits for the months any more: fetch nothing then. Loads have
    threads of their own, since each thread keeps some of the memory that it has used.
    """
    stop = threading.Event()
    with (
        ThreadPoolExecutor(LOADED_AT_ONCE, thread_name_prefix="load") as loads,
        ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="fetch") as fetches,
    ):

        def bring(source: Source) -> Month:
            fetched = fetch(source, stop)
            return loads.submit(load, source, fetched).result()

        futures = [fetches.submit(bring, source) for source in sources]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            stop.set()
            loads.shutdown(wait=False, cancel_futures=True)
            fetches.shutdown(cancel_futures=True)


def fetch(source: Source, backoff: Backoff, stop: threading.Event) -> Fetched:
    """Fetch a month's file unless it is the one at hand."""
    begin = time.perf_counter()
    try:
        done = download(source.address, source.path, check=is_parquet, backoff=backoff, stop=stop)
    except Exception as error:  # whatever it is, it is this month's; the caller reports it
        return Fetched(None, error, time.perf_counter() - begin, changed=False)
    return Fetched(done.metadata, None, time.perf_counter() - begin, done.fetched)


def fetched_before(source: Source) -> Fetched:
    """A month's file at hand; where it is not, an error that says what to do."""
    metadata = SourceMetadata.load_verified(source.path)
    error = FileNotFoundError(
        f"{source.path} is not there or not whole: materialize the file's asset first"
    )
    return Fetched(metadata, None if metadata else error, 0.0, changed=False)


@dataclass(frozen=True)
class _Load:
    """A file and how it is read, with what its files in the lake say in their footers."""

    source: Source
    table: Table
    plan: conform.ReadPlan
    zones: ZoneShapes | None
    rows: int
    publisher: str
    version: str
    fingerprint: str

    @property
    def tables(self) -> list[Table]:
        return [self.table, self.table.days] if self.table.days else [self.table]


def load(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    source: Source,
    sha256: str,
    fetched_from: str = "",
    is_accepted: bool = False,
) -> Loaded:
    """Replace a month of `table` and of its days by the raw file at `source.path`.

    sha256:       of the file's content
    fetched_from: where the file came from
    is_accepted:  whether a person has accepted the file though it is implausible

    The month is left alone where it was made from the same content by the same SQL, and by the same
    zones where its trips have points instead of zones. Raises LayoutError where the file's columns
    are not those of its month, DamagedFile, ValueNotReadable for a value that does not fit,
    Implausible, UnlikeDescribed, ZonesMissing and LoadError; readers then keep what they had.
    """
    lake.root.attach(con)  # the keys of a role may end within a long range
    work = _prepare(con, lake, table, source, sha256, fetched_from)
    in_place = [lake.fingerprint(con, each, source.partition) for each in work.tables]
    with _large if work.rows > LARGE_MONTH else nullcontext():
        begin = time.perf_counter()
        if set(in_place) == {work.fingerprint}:
            try:
                return _describe(con, lake, work, begin, changed=False)
            except duckdb.Error as error:
                file = lake.file(table, source.partition)
                log = dg.get_dagster_logger()
                log.warning(f"{file} or its days are damaged ({error}); they are written again")
        # Content that is in the lake already was found plausible, or accepted, when it came.
        is_known = in_place[0].startswith(f"{sha256} ")
        _replace(con, lake, work, is_accepted or is_known)
        return _describe(con, lake, work, begin, changed=True)


def _prepare(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    source: Source,
    sha256: str,
    fetched_from: str,
) -> _Load:
    schema = conform.schema_of(con, source.path)
    plan = conform.plan_read(source.path, schema, table, source.month)
    zones = ZoneShapes.load(con, lake) if plan.placements else None
    publisher = provenance.publisher(fetched_from, _is_synthetic(con, source.path))
    days = table.days.logic if table.days else ""
    sql = f"{plan.query} {conform.any_of(plan.losses)}"
    version = hashlib.sha256(
        f"{sha256} {sql} {zones.fingerprint if zones else ''} {days} {publisher}".encode()
    ).hexdigest()
    return _Load(
        source,
        table,
        plan,
        zones,
        parquet_rows(con, source.path),
        publisher,
        version,
        fingerprint=f"{sha256} {version}",
    )


def _is_synthetic(con: duckdb.DuckDBPyConnection, file: UPath) -> bool:
    """Whether a raw file says in its footer that its trips are invented; see `make sample`."""
    ((found,),) = con.execute(
        "SELECT count(*) FROM parquet_kv_metadata($file) WHERE key = 'synthetic'::BLOB",
        {"file": literal(file)},
    ).fetchall()
    return bool(found)


def _replace(con: duckdb.DuckDBPyConnection, lake: Lake, work: _Load, is_plausible: bool) -> None:
    """Write a month's files, and show them to readers if all checks pass."""
    source, table = work.source, work.table
    if not is_plausible:
        _check_number(con, lake, work)
    with (
        _errors_explained(con, work),
        lake.replacement(work.tables, source.partition) as new,
    ):
        file = literal(source.path)
        if work.zones:
            points = PointQuery(work.plan.points, file, work.rows)
            placed = place(con, work.zones, work.plan.placements, points)
            con.register("placed", placed)
        rows = new.write(
            con, table, work.plan.query, {"file": file}, work.fingerprint, work.publisher
        )
        if rows != work.rows:
            raise RowsLost(
                f"{source.path} has {work.rows:,} rows, and {rows:,} came out of it; the lake "
                "keeps what it had"
            )
        if table.days:
            quality.write_days(
                con,
                new,
                table,
                table.days,
                work.fingerprint,
                work.publisher,
                source.path,
                work.plan,
            )
            if not is_plausible:
                strays = checks.strays_in(con, new.file(table.days), source.partition)
                _refuse(work, checks.mostly_strays(source.partition, strays, rows))
        for each in work.tables:
            shown = lake.file(each, source.partition)
            checks.check_columns(con, new.file(each), each, shown)


def _check_number(con: duckdb.DuckDBPyConnection, lake: Lake, work: _Load) -> None:
    """Raise Implausible for far fewer rows than in the lake, or than other months have."""
    month = work.source.partition
    in_place = lake.rows(con, work.table, month)
    found = {other: lake.rows(con, work.table, other) for other in checks.compared_with(month)}
    others = {other: rows for other, rows in found.items() if rows is not None}
    _refuse(work, checks.too_few_rows(month, work.rows, in_place, others))


def _refuse(work: _Load, reason: str | None) -> None:
    if reason:
        raise Implausible(f"{work.source.path}: {reason}. The lake keeps what it had.")


@contextmanager
def _errors_explained(con: duckdb.DuckDBPyConnection, work: _Load) -> Iterator[None]:
    """Say of which file and value DuckDB speaks, which it often does not itself."""
    source = work.source
    try:
        yield
    except duckdb.Error as error:
        is_of_value = isinstance(error, (duckdb.ConversionException, duckdb.OutOfRangeException))
        reason = None
        if is_of_value or conform.is_damage(error):
            reason = conform.first_unreadable(con, source.path, work.plan)
        text = f"{source.path} could not be loaded into {work.table.name}: {error}"
        raise reason or LoadError(text) from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        named = re.search(r'"([^"]+)"', error.strerror or "")  # DuckDB may spill elsewhere
        folder = PurePath(named[1] if named else str(error.filename)).parent
        raise LoadError(f"{source.month} was not loaded: no space left on {folder}") from error


def _describe(
    con: duckdb.DuckDBPyConnection, lake: Lake, work: _Load, begin: float, changed: bool
) -> Loaded:
    """The month as it is in the lake."""
    table, partition = work.table, work.source.partition
    report = quality.report(con, lake, table, partition)
    seconds = time.perf_counter() - begin
    rows, size = lake.size(con, table, partition)
    return Loaded(
        rows,
        size,
        seconds,
        work.version,
        work.publisher,
        work.plan.unknown_columns,
        report,
        lake.first_rows(con, table, partition),
        changed,
    )


def unknown_columns(
    con: duckdb.DuckDBPyConnection, file: UPath, table: Table, month: str
) -> tuple[str, ...]:
    """The columns of a month's file that nobody has described. Raises LayoutError."""
    return conform.plan_read(file, conform.schema_of(con, file), table, month).unknown_columns
