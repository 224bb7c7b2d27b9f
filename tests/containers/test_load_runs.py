"""A backfill of 36 months as six runs at the same time, each in a separate container."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import free_port
from taxi_shared.ranges import range_tags
from tests.backfills import launch_backfill, wait_for_backfill
from tests.containers.conftest import SAMPLE, Stack, remove
from tests.waiting import wait_for

ROWS = 2_000
RUNS, MONTHS_PER_RUN = 6, 6
ALL = MonthRange.between("2018-01", "2023-12")
ONE_RUN = MonthRange.between("2018-01", "2020-12")
SIX_RUNS = MonthRange.between("2021-01", "2023-12")
SECONDS = 400
TRIPS = ("taxi_trips_file", "taxi_trips")
# A publisher in the container of ingestion; it answers while the file `open` exists.
PORT, OPEN = 8080, "/data/source/open"
PUBLISHER = f"""
import os, time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        while not os.path.exists({OPEN!r}):
            time.sleep(0.1)
        super().do_GET()

handler = partial(Handler, directory="/data/source")
ThreadingHTTPServer(("", {PORT}), handler).serve_forever()
"""
BY_MONTH = "SELECT {month}::VARCHAR, count(*), sum({amount})::VARCHAR FROM {trips} GROUP BY 1"


@dataclass(frozen=True)
class Containers:
    """The containers of runs, as the engine has reported them.

    most:    at the same time
    started: all of them
    seconds: from the first start to the last end
    """

    most: int
    started: int
    seconds: float

    @classmethod
    def from_events(cls, lines: list[str]) -> "Containers":
        events = [json.loads(line) for line in lines]
        going, most = 0, 0
        for event in events:
            going += 1 if event["status"] == "start" else -1
            most = max(most, going)
        times = [event["timeNano"] / 1e9 for event in events]
        started = sum(event["status"] == "start" for event in events)
        return cls(most, started, max(times) - min(times))


@contextmanager
def events_of_runs(stack: Stack, file: Path) -> Iterator[None]:
    """Write the starts and ends of the runs' containers to a file, while the block runs."""
    filters = (f"label=taxi.run={stack.project}", "event=start", "event=die")
    words = [word for each in filters for word in ("--filter", each)]
    with file.open("wb") as out:
        process = subprocess.Popen(
            ["docker", "events", *words, "--format", "{{json .}}"], stdout=out
        )
        try:
            yield
            wait_for(lambda: not stack.runs_going(), what="the end of the runs' containers")
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def stack(checkout: Path, sample: Path) -> Iterator[Stack]:
    """The platform, whose queue lets six runs of ingestion execute at once."""
    config = yaml.safe_load((checkout / "deploy" / "instance" / "dagster.yaml").read_text())
    config["concurrency"]["runs"]["max_concurrent_runs"] = RUNS + 2
    for limit in config["concurrency"]["runs"]["tag_concurrency_limits"]:
        if limit["value"] == "ingestion":
            limit["limit"] = RUNS
    folder = checkout / "deploy" / "instance-of-six"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    settings = {
        **SAMPLE,
        "TAXI_START_DATE": ALL.first.isoformat(),
        "TAXI_END_DATE": ALL.end.isoformat(),
        "TAXI_MONTHS_PER_RUN": str(MONTHS_PER_RUN),
        "TAXI_INSTANCE": folder.name,
        "TLC_SOURCE_URL": f"http://ingestion:{PORT}",
    }
    stack = Stack(
        checkout, f"taxi-tests-{uuid.uuid4().hex[:6]}", free_port(), free_port(), settings
    )
    stack.build()
    try:
        stack.compose("up", "--detach", "--wait")
        stack.wait_for_locations()
        stack.put_sample(sample, ROWS, ALL)
        stack.compose("exec", "--detach", "ingestion", "python", "-c", PUBLISHER)
        stack.compose("stop", "analytics")  # its runs would be counted and timed, too
        yield stack
    finally:
        remove(stack)


def months_in_the_lake(stack: Stack) -> list[list[object]]:
    """Each month's rows and sum of amounts, by the views that the platform publishes."""
    query = BY_MONTH.format(month="partition_date", amount="total_amount", trips="trips")
    code = f"""
import duckdb, json
con = duckdb.connect('/data/staging/data.duckdb', read_only=True)
print(json.dumps(con.execute({query!r}).fetchall()))
"""
    found: list[list[object]] = json.loads(stack.python("ingestion", code))
    return sorted(found)


def months_of_sample(folder: Path) -> list[list[object]]:
    files = folder / "source" / "trip-data" / "yellow_tripdata_*.parquet"
    query = BY_MONTH.format(
        month="filename[-15:-9] || '-01'",
        amount="total_amount::DECIMAL(18, 2)",
        trips=f"read_parquet('{files}', filename=true, union_by_name=true)",
    )
    with duckdb.connect() as con:
        return sorted(map(list, con.execute(query).fetchall()))


def test_36_months_load_in_six_containers_at_once(
    stack: Stack, sample: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    graphql = stack.graphql
    stack.execute("ingestion", "touch", OPEN)
    with events_of_runs(stack, tmp_path / "one"):
        first, *_, last = [month.isoformat() for month in ONE_RUN.months]
        trips = JobSubset("trip_update_job", TRIPS)
        run = graphql.launch("ingestion", trips, tags=range_tags(first, last))
        assert stack.wait_for_run(run) == "SUCCESS", graphql.run_failure(run)
    stack.execute("ingestion", "rm", OPEN)
    with events_of_runs(stack, tmp_path / "six"):
        backfill = launch_backfill(graphql, [month.isoformat() for month in SIX_RUNS.months])
        wait_for(lambda: len(stack.runs_going()) == RUNS, "six containers at once", SECONDS)
        stack.execute("ingestion", "touch", OPEN)
        found = wait_for_backfill(graphql, backfill, SECONDS)
        assert found["status"] == "COMPLETED_SUCCESS", found["error"]
    one, six = (
        Containers.from_events((tmp_path / name).read_text().splitlines())
        for name in ("one", "six")
    )
    figure(
        f"36 months of {ROWS:,} rows: {one.seconds:.1f} s in one container, {six.seconds:.1f} s in "
        f"{six.most} that share {os.cpu_count()} cores and wait until all of them have started"
    )
    assert (one.most, one.started) == (1, 1)
    assert (six.most, six.started) == (RUNS, RUNS)
    assert months_in_the_lake(stack) == months_of_sample(sample)
    assert len(months_in_the_lake(stack)) == len(ALL.months)
    claims = "from pathlib import Path; print(list(Path('/data/staging/loads').rglob('*.json')))"
    assert stack.python("ingestion", claims) == "[]\n"
