"""Months of trip files: fetched side by side, each loaded as soon as it is there.

A month that fails does not hold up the others, and a month that is already done is not done again.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass

import dagster as dg
import duckdb
from upath import UPath

from ingestion.lib import conform, quality
from ingestion.lib.download import Patience, Receipt, download, is_parquet
from ingestion.lib.placement import ZoneShapes, place
from taxi_shared.lake import Lake, parquet_rows
from taxi_shared.tables import Table

# While two months are loaded, each by one core, the next ones are fetched. Of large months there is
# one at a time: some memory grows with the rows.
FETCHED_AT_ONCE = 4
LOADED_AT_ONCE = 2
LARGE_MONTH = 8_000_000
_large = threading.Semaphore(1)


class LoadError(Exception):
    """A file could not be loaded, mostly because its content is damaged."""


class RowsLost(LoadError):
    """A month would have other than its file's number of rows."""


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
    """The outcome of fetching a month: a receipt or an error, and the seconds it took.

    `changed` is False where the file was there already.
    """

    receipt: Receipt | None
    error: Exception | None
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Loaded:
    """A month in the lake, with the report of what is strange in it.

    `version` tells of what content, by what SQL, it was made; `changed` is False where the lake
    held that before.
    """

    rows: int
    bytes: int
    seconds: float
    version: str
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


def fetch(source: Source, patience: Patience, stop: threading.Event) -> Fetched:
    """Fetch a month's file unless it is the one at hand."""
    begin = time.perf_counter()
    try:
        done = download(source.address, source.path, check=is_parquet, patience=patience, stop=stop)
    except Exception as error:  # whatever it is, it is this month's; the caller reports it
        return Fetched(None, error, time.perf_counter() - begin, changed=False)
    return Fetched(done.receipt, None, time.perf_counter() - begin, done.fetched)


def fetched_before(source: Source) -> Fetched:
    """A month's file at hand; where it is not, an error that says what to do."""
    receipt = Receipt.of(source.path)
    error = FileNotFoundError(
        f"{source.path} is not there or not whole: materialize the file's asset first"
    )
    return Fetched(receipt, None if receipt else error, 0.0, changed=False)


def load(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, source: Source, sha256: str
) -> Loaded:
    """Replace a month of `table` by the raw file at `source.path`, whose content has that hash.

    The file is left alone where it was made from the same content by the same SQL, and by the same
    zones where its trips have points instead of zones. Raises LayoutError where the file's columns
    are not those of its month, ValueNotReadable for a value that does not fit, LoadError for
    a file that is damaged, and ZonesMissing; the lake then keeps what it had.
    """
    file, partition = str(source.path), source.partition
    conformed = conform.conform(file, conform.schema_of(con, file), table, source.month)
    zones = ZoneShapes.of(con) if conformed.placements else None
    days = table.days.logic if table.days else ""
    made_from = hashlib.sha256(
        f"{sha256} {conformed.query} {zones.fingerprint if zones else ''} {days}".encode()
    ).hexdigest()
    tables = (table, table.days) if table.days else (table,)
    changed = any(lake.note(con, t, partition) != made_from for t in tables)
    is_large = parquet_rows(con, source.path) > LARGE_MONTH
    with _large if is_large else nullcontext():
        begin = time.perf_counter()
        if changed:
            _write_rows(con, lake, table, source, conformed, zones, made_from)
            if table.days:
                quality.write_days(con, lake, table, table.days, partition, made_from)
        report = quality.report(con, lake, table, partition)
        seconds = time.perf_counter() - begin
    rows, size = lake.size(con, table, partition)
    return Loaded(
        rows,
        size,
        seconds,
        made_from,
        conformed.unknown_columns,
        report,
        lake.first_rows(con, table, partition),
        changed,
    )


def _write_rows(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    source: Source,
    conformed: conform.Conformed,
    zones: ZoneShapes | None,
    made_from: str,
) -> None:
    file = str(source.path)
    try:
        if zones:
            rows = parquet_rows(con, source.path)
            placed = place(con, zones, conformed.placements, conformed.points, file, rows)
            con.register("placed", placed)
        lake.write(
            con,
            table,
            conformed.query,
            {"file": file},
            source.partition,
            made_from,
            check=lambda rows: _check_rows(source, con, rows),
        )
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        reason = conform.first_unreadable(con, file, conformed)
        raise conform.ValueNotReadable(reason) from error
    except duckdb.Error as error:  # which often does not say of which file it speaks
        raise LoadError(
            f"{file} could not be loaded into {table.name}: {error}; if the file is damaged, "
            "delete it, and materialize it again"
        ) from error


def _check_rows(source: Source, con: duckdb.DuckDBPyConnection, rows: int) -> None:
    published = parquet_rows(con, source.path)
    if rows != published:
        raise RowsLost(
            f"{source.path} has {published:,} rows, and {rows:,} came out of it; the lake keeps "
            "what it had"
        )


def unknown_columns(
    con: duckdb.DuckDBPyConnection, file: UPath, table: Table, month: str
) -> tuple[str, ...]:
    """The columns of a month's file that nobody has described. Raises LayoutError."""
    return conform.conform(
        str(file), conform.schema_of(con, str(file)), table, month
    ).unknown_columns
