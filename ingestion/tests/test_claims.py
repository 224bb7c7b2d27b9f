"""Runs that load at the same time never load the same month; other months they load at once."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from ingestion.defs.trips import trip_assets
from ingestion.lib.claims import Claims
from taxi_shared import storage
from taxi_shared.services import YELLOW

SECONDS = 60
NO_LOGS = "dagster._core.storage.noop_compute_log_manager"
MONTHS = [f"2023-{month:02}-01" for month in range(1, 13)]


@dataclass
class Loads:
    """Runs that claim months, and which of them load which months at the moment."""

    folder: UPath
    instance: dg.DagsterInstance
    going: list[set[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, months: Sequence[str], load: Callable[[], object]) -> dg.ExecuteInProcessResult:
        """Run an asset that claims months, and calls `load` while it holds the claim."""

        @dg.asset
        def trips(context: dg.AssetExecutionContext) -> None:
            claims = Claims(self.folder, self.instance, poll_seconds=0.01)
            with claims.hold(context, months), self._entered({*months}):
                load()

        return dg.materialize([trips], instance=self.instance, raise_on_error=False)

    @contextmanager
    def _entered(self, months: set[str]) -> Iterator[None]:
        """Fail where another run loads one of the months now."""
        with self._lock:
            assert not [each for each in self.going if each & months]
            self.going.append(months)
        try:
            yield
        finally:
            with self._lock:
                self.going.remove(months)

    def claims(self) -> list[str]:
        # Some servers of S3 list the empty folder too.
        return [path.name for path in storage.entries_below(self.folder) if path.suffix == ".json"]


@pytest.fixture
def stored_runs(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose runs several threads can read."""
    (tmp_path / "home").mkdir()
    # Output cannot be captured for each of several threads: the processes that do it would stay.
    no_logs = {"compute_logs": {"module": NO_LOGS, "class": "NoOpComputeLogManager"}}
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=no_logs) as instance:
        yield instance


@pytest.fixture
def loads(tmp_path: Path, stored_runs: dg.DagsterInstance) -> Loads:
    return Loads(UPath(tmp_path / "loads"), stored_runs)


@pytest.fixture(params=["folder", "s3"])
def loads_anywhere(request: pytest.FixtureRequest, loads: Loads) -> Loads:
    if request.param == "s3":
        loads.folder = storage.path_at(request.getfixturevalue("s3_root")) / "loads"
    return loads


def test_runs_of_other_months_load_at_once(loads_anywhere: Loads) -> None:
    together = threading.Barrier(3, timeout=SECONDS)
    with ThreadPoolExecutor(3) as threads:
        runs = threads.map(lambda n: loads_anywhere.run(MONTHS[n : n + 1], together.wait), range(3))
        assert all(run.success for run in runs)


def test_runs_of_one_month_load_one_after_another(loads_anywhere: Loads) -> None:
    ranges = [MONTHS[first : first + 3] for first in (0, 1, 2, 3, 4, 0, 1, 2)]
    with ThreadPoolExecutor(len(ranges)) as threads:
        runs = threads.map(
            lambda months: loads_anywhere.run(months, lambda: time.sleep(0.1)), ranges
        )
        assert all(run.success for run in runs)
    assert not loads_anywhere.claims()


def test_failed_load_frees_its_months(loads: Loads) -> None:
    def fail() -> None:
        assert loads.claims()
        raise RuntimeError("no such file")

    assert not loads.run(MONTHS[:2], fail).success
    assert not loads.claims()


def test_backfill_is_one_run_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAXI_MONTHS_PER_RUN", raising=False)
    default = trip_assets(YELLOW)
    assert default.backfill_policy == dg.BackfillPolicy.single_run()
    assert default.op.pool == "trips"
    monkeypatch.setenv("TAXI_MONTHS_PER_RUN", "6")
    several = trip_assets(YELLOW)
    assert several.backfill_policy == dg.BackfillPolicy.multi_run(6)
    assert several.op.pool is None  # the claims replace it


@pytest.mark.parametrize("is_known", [True, False])
def test_claim_of_an_ended_run_does_not_count(loads: Loads, is_known: bool) -> None:
    ended = loads.run(MONTHS[:1], lambda: None).run_id if is_known else "0"
    storage.write_text(loads.folder / f"{ended}.json", f'["{MONTHS[0]}"]')  # as if it was killed
    assert loads.run(MONTHS[:1], lambda: None).success
    assert not loads.claims()


def test_claim_of_an_unfinished_run_counts(loads: Loads) -> None:
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert end.wait(SECONDS)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(loads.run, MONTHS[:2], wait)
        assert begun.wait(SECONDS)
        second = threads.submit(loads.run, MONTHS[1:3], lambda: None)
        assert loads.run(MONTHS[3:4], lambda: None).success  # passes both of them
        assert not second.done()
        end.set()
        assert first.result().success
        assert second.result().success
