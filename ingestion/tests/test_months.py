"""Many months at once: what happens when the caller stops, and when a month fails."""

import threading
from dataclasses import dataclass, field

import pytest
from upath import UPath

from ingestion.lib.download import Download, SourceMetadata
from ingestion.lib.loading import LoadedMonth, MonthFile
from ingestion.lib.months import FETCHED_AHEAD, duckdb_options, load_concurrently
from ingestion.lib.published_files import Version

FILES = [MonthFile(f"20{year}-01-01", UPath("/raw")) for year in range(10, 30)]
DONE = Download(SourceMetadata("https://tlc.test", Version(), 8, "abc"), fetched=True)


@dataclass
class Loads:
    """Loads of which each but the first lasts until it is interrupted."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def load(self, file: MonthFile) -> LoadedMonth:
        self.begun.append(file.month)
        if file.month != FILES[0].month:
            assert self.interrupted.wait(10)
        self.ended.append(file.month)
        assert file.sha256 == "abc"
        raise ValueError("not loaded")

    def interrupt(self) -> None:
        self.interrupted.set()


def test_stop_interrupts_loads_and_fetches_nothing_more() -> None:
    fetched: list[str] = []
    loads = Loads()

    def fetch(file: MonthFile, stop: threading.Event) -> Download:
        if not stop.is_set():
            fetched.append(file.month)
        return DONE

    months = load_concurrently(FILES, fetch, loads, at_once=2)
    assert next(months).file.month == FILES[0].month
    months.close()
    assert set(loads.ended) == set(loads.begun)
    assert len(loads.begun) <= 1 + 2
    assert len(fetched) <= 1 + 2 + FETCHED_AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith(("load_", "fetch_"))]


def test_error_of_a_month_does_not_stop_the_others() -> None:
    def fetch(file: MonthFile, stop: threading.Event) -> Download:
        if file is FILES[1]:
            raise ValueError("not fetched")
        return DONE

    loads = Loads()
    loads.interrupt()
    months = load_concurrently(FILES[:3], fetch, loads, at_once=2)
    found = {month.file.month: (month.download, str(month.error)) for month in months}
    assert found == {
        "2010-01": (DONE, "not loaded"),
        "2011-01": (None, "not fetched"),
        "2012-01": (DONE, "not loaded"),
    }


@pytest.mark.parametrize(
    ("months", "cores", "threads"),
    [(1, 1, 1), (1, 2, 2), (2, 2, 1), (3, 2, 2), (5, 2, 1), (16, 16, 1), (36, 2, 1), (36, 16, 16)],
)
def test_months_share_cores_that_would_be_idle(months: int, cores: int, threads: int) -> None:
    options = duckdb_options(months, cores)
    assert options["threads"] == threads
    assert options["preserve_insertion_order"] == (threads == 1)
