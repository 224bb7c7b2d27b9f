"""Backfills of several runs at once, on a started instance: TAXI_MONTHS_PER_RUN is set."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import GraphQL, JobSubset
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline, Run
from taxi_platform.sample import write_sample

from .backfills import launch_backfill, wait_for_backfill
from .waiting import wait_for, wait_for_status

pytestmark = pytest.mark.system

ROWS = 200
MONTHS = MonthRange.between("2023-01", "2023-05")
KEYS = [month.isoformat() for month in MONTHS.months]
AUTOMATION = "analytics_automation_sensor"


@dataclass
class Publisher:
    """A publisher that holds its files back until `answer` is set.

    going:   the files that are being sent now
    at_once: the most answers for the same file at once, of each file
    """

    url: str
    answer: threading.Event = field(default_factory=threading.Event)
    going: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def sending(self, path: str) -> Iterator[None]:
        with self._lock:
            self.going[path] += 1
            self.at_once[path] = max(self.at_once[path], self.going[path])
        try:
            yield
        finally:
            with self._lock:
                self.going[path] -= 1

    def months(self) -> list[str]:
        """The months whose files are being sent."""
        with self._lock:
            return sorted(path[-15:-8] for path, number in self.going.items() if number)


@contextmanager
def publishing(folder: Path) -> Iterator[Publisher]:
    """Serve a folder of TLC's files."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            with publisher.sending(self.path):
                super().do_GET()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            while not publisher.answer.wait(10):  # the loader waits a minute for a byte
                outputfile.write(source.read(1))
            super().copyfile(source, outputfile)

        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        publisher = Publisher(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield publisher
        finally:
            publisher.answer.set()
            server.shutdown()
            thread.join()


@contextmanager
def running(folder: Path, source: str, months: MonthRange) -> Iterator[Pipeline]:
    """An instance over some months, whose backfills have two months per run."""
    environment = {
        "TAXI_DATA_ROOT": str(folder / "data"),
        "TLC_SOURCE_URL": source,
        "TAXI_ZONES_URL": str(folder / "source" / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": months.first.isoformat(),
        "TAXI_END_DATE": months.end.isoformat(),
        "TAXI_MONTHS_PER_RUN": "2",
        "TAXI_DOWNLOAD_MIN_KB_PER_SECOND": "0",
    }
    with Instance(folder / "home", environment=environment) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()
        yield pipeline


def waiting_run(graphql: GraphQL, others: Sequence[str]) -> str:
    """The first run of trips, but for some others, that waits for months; waits for it."""
    runs = [run for run in runs_of_trips(graphql) if run not in others]
    return next((run for run in runs if "waiting for months" in logged(graphql, run)), "")


def runs_of_trips(graphql: GraphQL) -> list[str]:
    return [*graphql.runs_of("ingestion", "trip_update_job"), *backfill_runs(graphql)]


def backfill_runs(graphql: GraphQL) -> list[str]:
    return list(graphql.runs_of("ingestion", "__ASSET_JOB"))


def logged(graphql: GraphQL, run_id: str) -> str:
    return "\n".join(graphql.run_messages(run_id, None)[0])


def loaded_months(graphql: GraphQL, runs: Sequence[str]) -> list[str]:
    """The months that runs have recorded, sorted."""
    return sorted(
        str(made.partition)
        for run in runs
        for made in graphql.materializations(run)
        if made.asset == "taxi_trips"
    )


def rows_by_month(data: Path) -> dict[str, int]:
    """The rows of each month, by the views that the platform publishes for people."""
    with duckdb.connect(str(data / "staging" / "data.duckdb"), read_only=True) as con:
        query = "SELECT partition_date::VARCHAR, count(*) FROM trips GROUP BY ALL ORDER BY ALL"
        return dict(con.execute(query).fetchall())


def test_overlapping_backfills_never_load_a_month_at_once(tmp_path: Path) -> None:
    write_sample(tmp_path / "source", MONTHS.months[:4], ROWS)
    with (
        publishing(tmp_path / "source") as publisher,
        running(tmp_path, publisher.url, MONTHS) as pipeline,
    ):
        graphql = pipeline.graphql
        first = launch_backfill(graphql, KEYS[:4])
        wait_for(lambda: len(publisher.months()) == 4, "the load of four months by two runs")
        others = graphql.runs_of_backfill(first)
        assert len(others) == 2

        # A run that waits can be cancelled.
        tags = {"dagster/partition": KEYS[0]}
        cancelled = graphql.launch(
            "ingestion",
            JobSubset("trip_update_job", ["taxi_trips_file", "taxi_trips"]),
            tags=tags,
        )
        wait_for(lambda: "waiting for months" in logged(graphql, cancelled), "a run that waits")
        graphql.ask(
            "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=cancelled
        )
        assert wait_for_status(graphql, cancelled) == "CANCELED"

        # The other backfill has two months of the first, and May, which is not published.
        second = launch_backfill(graphql, KEYS[2:])
        waits = wait_for(lambda: waiting_run(graphql, [*others, cancelled]), "a run that waits")
        assert f"{KEYS[2]}, {KEYS[3]} by run" in logged(graphql, waits)
        assert publisher.months() == [key[:7] for key in KEYS[:4]]
        publisher.answer.set()
        assert wait_for_backfill(graphql, first)["status"] == "COMPLETED_SUCCESS"
        assert wait_for_backfill(graphql, second)["status"] == "COMPLETED_FAILED"
        assert set(publisher.at_once.values()) == {1}

        # The month that failed is loaded by another backfill.
        write_sample(tmp_path / "source", MONTHS.months, ROWS)
        third = launch_backfill(graphql, KEYS[4:])
        assert wait_for_backfill(graphql, third)["status"] == "COMPLETED_SUCCESS"
        loaded = [
            loaded_months(graphql, graphql.runs_of_backfill(each))
            for each in (first, second, third)
        ]
    assert loaded == [KEYS[:4], KEYS[2:4], KEYS[4:]]
    assert rows_by_month(tmp_path / "data") == dict.fromkeys(KEYS, ROWS)
    assert not list((tmp_path / "data" / "staging" / "loads").rglob("*.json"))


def test_weeks_follow_a_backfill_of_several_runs_once(tmp_path: Path) -> None:
    year = MonthRange.between("2023-01", "2023-12")
    write_sample(tmp_path / "source", year.months, ROWS)
    with running(tmp_path, str(tmp_path / "source"), year) as pipeline:
        zones = JobSubset("trip_update_job", ["taxi_zones_file", "taxi_zones"])
        pipeline.run(Run("zones", pipeline.graphql.launch("ingestion", zones)))
        began = time.time()
        keys = [month.isoformat() for month in year.months]
        backfill = launch_backfill(pipeline.graphql, keys)
        found = wait_for_backfill(pipeline.graphql, backfill, seconds=300)
        assert found["status"] == "COMPLETED_SUCCESS", found["error"]
        runs = [run["runId"] for run in found["runs"]]
        assert len(runs) == 6
        assert loaded_months(pipeline.graphql, runs) == keys
        pipeline.materialized.clear()
        pipeline.follow_automation(began, time.time(), quiet_ticks=2)
        ticks = pipeline.graphql.ticks_since("analytics", AUTOMATION, began)
    # The weeks, and the statistics with the map: where a load ends during an evaluation, Dagster
    # counts it in that evaluation and in the next, and makes what has no partitions twice.
    assert len({run for tick in ticks for run in tick.requested}) in (2, 3)
    made = [(m.asset, m.partition) for m in pipeline.materialized]
    partitioned = [each for each in made if each[1]]
    assert len(set(partitioned)) == len(partitioned)
    weeks = {partition for asset, partition in made if asset == "trips_by_week"}
    assert weeks == {week.isoformat() for week in year.full_weeks}
    assert {asset for asset, _ in made} >= {"manhattan_stats", "manhattan_map"}
