"""Many months at once: each is loaded as soon as its file is fetched, and fails on its own."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Protocol

from ingestion.lib.download import PARQUET, Backoff, Download, SourceMetadata, download
from ingestion.lib.loading import LoadedMonth, MonthFile
from ingestion.lib.publication import Refusals
from ingestion.lib.published_files import Blocked, Forbidden

CONCURRENT_FETCHES = 4
# While months are loaded, the next ones are fetched.
FETCHED_AHEAD = 2
INTERRUPT_SECONDS = 0.1
# The share of the cores that must be busy with a month each, or else all of them share all months.
BUSY_SHARE = 0.8


def duckdb_options(months: int, cores: int) -> dict[str, str | int]:
    """How DuckDB loads the months of a run, as many at once as there are cores.

    With one thread, each month has a core, and its rows keep the order of the file. Where that
    would leave a fifth of the cores idle, all cores work on all months, and write row groups as
    they are ready: keeping the order would then take three times as long.
    """
    rounds = -(-months // cores)
    one_each = months >= BUSY_SHARE * rounds * cores
    return {
        "threads": 1 if one_each else cores,
        "preserve_insertion_order": one_each,
    }


@dataclass(frozen=True)
class MonthResult:
    """What became of a month: its file in `raw/`, its rows in the lake, or why they are missing.

    download: None where the file could not be fetched, or need not be
    seconds:  that fetching the file took
    loaded:   None where the rows could not be loaded, or were not requested
    """

    file: MonthFile
    download: Download | None = None
    seconds: float = 0.0
    loaded: LoadedMonth | None = None
    error: Exception | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the publisher has answered that it does not let this address have the file."""
        return isinstance(self.error, Forbidden | Blocked)


class Loader(Protocol):
    """Loads months, each in a thread."""

    def load(self, file: MonthFile) -> LoadedMonth:
        """Load a month."""

    def interrupt(self) -> None:
        """Make the loads that are in progress raise an error."""


def load_concurrently(
    files: Sequence[MonthFile],
    fetch: Callable[[MonthFile, threading.Event], Download],
    loader: Loader | None,
    at_once: int,
) -> Generator[MonthResult]:
    """Fetch months, and load each as soon as its file is there; yields each that is finished.

    At most `at_once` months are loaded at the same time.

    An error of `fetch` or a load is that of its month, whatever it is; the others go on. When the
    caller stops iterating, the event is set, so that `fetch` gives up, and loads are interrupted.
    Loads have threads of their own, since each thread keeps some of the memory that it has used.
    """
    stop, fetching = threading.Event(), threading.Semaphore(CONCURRENT_FETCHES)
    with (
        ThreadPoolExecutor(at_once, thread_name_prefix="load") as loads,
        ThreadPoolExecutor(at_once + FETCHED_AHEAD, thread_name_prefix="fetch") as fetches,
    ):

        def fetch_then_load(file: MonthFile) -> MonthResult:
            begin = time.perf_counter()
            result = MonthResult(file)
            if file.version is None:
                try:
                    with fetching:
                        done = fetch(file, stop)
                except Exception as error:
                    return replace(result, error=error)
                fetched = replace(file, address=done.metadata.address, sha256=done.metadata.sha256)
                result = MonthResult(fetched, done, time.perf_counter() - begin)
            try:
                loaded = loads.submit(loader.load, result.file).result() if loader else None
            except Exception as error:
                return replace(result, error=error)
            return replace(result, loaded=loaded)

        futures = [fetches.submit(fetch_then_load, file) for file in files]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            fetches.shutdown(wait=False, cancel_futures=True)
            loads.shutdown(wait=False, cancel_futures=True)
            stop.set()
            # A load has several queries: it may be between two of them.
            while loader and not all(future.done() for future in futures):
                loader.interrupt()
                time.sleep(INTERRUPT_SECONDS)


@dataclass(frozen=True)
class Fetcher:
    """Fetches months' files, until their publisher is found to block this address."""

    refusals: Refusals
    backoff: Backoff

    def fetch(self, file: MonthFile, stop: threading.Event) -> Download:
        """Fetch a month's file unless the published one is in `raw/` already.

        Raises as `download` does; Blocked without a request once the publisher blocks.
        """
        if block := self.refusals.block(is_final=False):
            raise block
        try:
            backoff = replace(self.backoff, stop=stop)
            done = download(file.address, file.path, PARQUET, backoff)
        except Exception as error:
            raise self.refusals.judge(file.partition, error) or error from None
        self.refusals.judge(file.partition, None)
        return done

    def final(self, result: MonthResult) -> MonthResult:
        """The result of a month, once all have been requested.

        A month may have been refused before a newer one was found: that was a block, too.
        """
        block = self.refusals.block(is_final=True)
        return replace(result, error=block) if block and result.is_refused else result


def stored_file(file: MonthFile, stop: threading.Event) -> Download:
    """A month's file as it is in `raw/`, for runs that only load. Raises FileNotFoundError."""
    if metadata := SourceMetadata.load_verified(file.path):
        return Download(metadata, fetched=False)
    raise FileNotFoundError(
        f"{file.path} is missing or incomplete: materialize the file's asset first"
    )
