"""Pools, lost runs, the tags of runs, and the status, on started instances."""

import io
import os
import re
import signal
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console

from taxi_platform.graphql import GraphQL, JobSubset
from taxi_platform.instance import Instance, running_at
from taxi_platform.problems import failed_checks
from taxi_platform.sample import write_sample
from taxi_platform.status import show
from taxi_platform.workspace import Location, locations
from tests.backfills import launch_backfill
from tests.faults.site import COLD
from tests.waiting import wait_for, wait_for_status

pytestmark = pytest.mark.system

MONTH = "2023-01-01"
# Assets that run until the file `end` exists, in the pool of ingestion's trips and in no pool.
NEIGHBOUR = """
import os, time
from pathlib import Path
import dagster as dg

FOLDER = Path(os.environ["NEIGHBOUR_FOLDER"])

def run_until_end(context):
    (FOLDER / f"{context.run_id}.pid").write_text(str(os.getpid()))
    while not (FOLDER / "end").exists():
        time.sleep(0.1)

@dg.asset(pool="trips")
def in_the_pool_of_trips(context: dg.AssetExecutionContext) -> None:
    run_until_end(context)

@dg.asset
def in_no_pool(context: dg.AssetExecutionContext) -> None:
    run_until_end(context)

defs = dg.Definitions(
    assets=[in_the_pool_of_trips, in_no_pool],
    jobs=[dg.define_asset_job("pool_job", [in_the_pool_of_trips]),
          dg.define_asset_job("free_job", [in_no_pool])],
    executor=dg.in_process_executor,
)
"""
# A run each minute, which must not come between what other tests count.
SCHEDULE = """
@dg.asset
def quick() -> None: ...

each_minute = dg.ScheduleDefinition("each_minute", target=[quick], cron_schedule="* * * * *",
                                    default_status=dg.DefaultScheduleStatus.RUNNING)
defs = dg.Definitions.merge(defs, dg.Definitions(assets=[quick], schedules=[each_minute]))
"""


def tags_of_runs(graphql: GraphQL) -> dict[str, dict[str, str]]:
    """The tags of every run."""
    runs = graphql.ask("{ runsOrError { ... on Runs { results { runId tags { key value } } } } }")[
        "runsOrError"
    ]["results"]
    return {run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in runs}


def origins_of_runs(graphql: GraphQL) -> dict[str, str]:
    """The location whose code each run executes."""
    runs = graphql.ask(
        "{ runsOrError { ... on Runs { results { runId repositoryOrigin { repositoryLocationName"
        " } } } } }"
    )["runsOrError"]["results"]
    return {run["runId"]: run["repositoryOrigin"]["repositoryLocationName"] for run in runs}


@pytest.fixture
def neighbour(tmp_path: Path) -> Location:
    """A code location in addition to the platform's."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "neighbour.py").write_text(NEIGHBOUR)
    return Location("neighbour", "neighbour", tmp_path / "neighbour", Path(sys.executable))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "NEIGHBOUR_FOLDER": str(tmp_path / "neighbour"),
        "TAXI_DATA_ROOT": str(tmp_path / "data"),
        "TLC_SOURCE_URL": str(tmp_path / "source"),
        "TAXI_ZONES_URL": str(tmp_path / "source" / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTH,
        "TAXI_END_DATE": "2023-02-01",
    }


def process_of(environment: dict[str, str], run_id: str) -> int:
    """The process of a neighbour's run that is going."""
    file = Path(environment["NEIGHBOUR_FOLDER"]) / f"{run_id}.pid"
    wait_for(file.exists, "the start of a run")
    return int(wait_for(file.read_text, "the process of a run"))


def test_pool_limits_runs_across_locations(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    write_sample(tmp_path / "source", [date(2023, 1, 1)], 1_000)
    ingestion = locations()[0]
    with Instance(
        tmp_path / "home", environment=environment, served=[ingestion, neighbour]
    ) as instance:
        graphql = instance.graphql
        holder = graphql.launch("neighbour", "pool_job")
        process_of(environment, holder)
        tags = {"dagster/partition": MONTH}
        waiting = [graphql.launch("ingestion", "trip_update_job", tags=tags) for _ in range(2)]
        free = graphql.launch("neighbour", "free_job")
        process_of(environment, free)  # started after them, and did not wait
        assert [graphql.run_status(run) for run in waiting] == ["QUEUED", "QUEUED"]
        console = Console(record=True, width=200, file=io.StringIO())
        assert show(graphql, console)
        assert "2 queued, some in the pools trips, zones." in console.export_text()
        (Path(environment["NEIGHBOUR_FOLDER"]) / "end").touch()
        for run_id in [holder, free, *waiting]:
            assert wait_for_status(graphql, run_id) == "SUCCESS"
        times = [times_of(graphql, run_id) for run_id in [holder, *waiting]]
        assert all(
            first[1] <= second[0]
            for first, second in zip(sorted(times), sorted(times)[1:], strict=False)
        ), times


def test_reports_leave_slots_for_other_teams(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    reports = replace(neighbour, name="adhoc_reports")
    served = [neighbour, reports]
    with Instance(tmp_path / "home", environment=environment, served=served) as instance:
        graphql = instance.graphql
        runs = [graphql.launch("adhoc_reports", "free_job") for _ in range(9)]

        def started() -> list[str]:
            return [run for run in runs if graphql.run_status(run) == "STARTED"]

        wait_for(lambda: len(started()) == 6, "the start of six reports")
        other = graphql.launch("neighbour", "free_job")
        wait_for_status(graphql, other, "STARTED")
        assert len(started()) == 6
        (Path(environment["NEIGHBOUR_FOLDER"]) / "end").touch()
        for run in (*runs, other):
            wait_for_status(graphql, run, "SUCCESS")


def times_of(graphql: GraphQL, run_id: str) -> tuple[float, float]:
    run = graphql.ask(
        "query ($id: ID!) { runOrError(runId: $id) { ... on Run { startTime endTime } } }",
        id=run_id,
    )["runOrError"]
    return run["startTime"], run["endTime"]


def test_killed_run_fails_and_is_retried_once(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    with Instance(tmp_path / "home", environment=environment, served=[neighbour]) as instance:
        graphql = instance.graphql
        first = graphql.launch("neighbour", "pool_job")
        os.kill(process_of(environment, first), signal.SIGKILL)
        wait_for_status(graphql, first, "FAILURE")
        (second,) = wait_for(
            lambda: graphql.runs_of("neighbour", "pool_job").keys() - {first}, "the second try"
        )
        # It got the pool of the one that was killed.
        os.kill(process_of(environment, second), signal.SIGKILL)
        wait_for_status(graphql, second, "FAILURE")
        will_retry = wait_for(
            lambda: tags_of_runs(graphql)[second].get("dagster/will_retry"), "the decision"
        )
        assert will_retry == "false"
        assert graphql.runs_of("neighbour", "pool_job").keys() == {first, second}


def test_lost_run_fails_and_is_retried_at_the_next_start(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    home = tmp_path / "home"
    with Instance(home, environment=environment, served=[neighbour]) as instance:
        lost = instance.graphql.launch("neighbour", "pool_job", tags=COLD)
        process_of(environment, lost)
        # As when the machine goes down: no process can report anything.
        for server in instance.servers.values():
            server.kill()
    (Path(environment["NEIGHBOUR_FOLDER"]) / "end").touch()
    with Instance(home, environment=environment, served=[neighbour]) as instance:
        graphql = instance.graphql
        assert graphql.run_status(lost) == "FAILURE"
        assert "code server that it ran under is gone" in graphql.run_failure(lost)
        (again,) = wait_for(
            lambda: graphql.runs_of("neighbour", "pool_job").keys() - {lost}, "the second try"
        )
        wait_for_status(graphql, again, "SUCCESS")
        assert tags_of_runs(graphql)[again]["dagster/code_location"] == "neighbour"


STARTERS = ("dagster/schedule_name", "dagster/sensor_name", "dagster/backfill")


def test_every_run_is_tagged_with_its_code_location(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    write_sample(tmp_path / "source", [date(2023, 1, 1)], 1_000)
    (neighbour.folder / "neighbour.py").write_text(NEIGHBOUR + SCHEDULE)
    with Instance(
        tmp_path / "home", environment=environment, served=[*locations(), neighbour]
    ) as instance:
        graphql = instance.graphql
        graphql.launch("ingestion", JobSubset("__ASSET_JOB", ["taxi_zones_file", "taxi_zones"]))
        launch_backfill(graphql, [MONTH])
        requests = tmp_path / "data" / "requests"
        requests.mkdir(parents=True)
        (requests / "bronx.json").write_text(
            '{"borough": "Bronx", "start_date": "2023-01-10", "end_date": "2023-01-12"}'
        )
        expected = {
            *("each_minute", "adhoc_request_sensor"),
            *("analytics_automation_sensor", "adhoc_reports_automation_sensor"),
        }

        def starters() -> set[str]:
            tags = tags_of_runs(graphql).values()
            return {each[starter] for each in tags for starter in STARTERS if starter in each}

        wait_for(lambda: starters() > expected, "all starters and a backfill")
        for run_id in (launched := tags_of_runs(graphql)):
            wait_for_status(graphql, run_id)
        found = {run: tags for run, tags in tags_of_runs(graphql).items() if run in launched}
        assert any(not set(STARTERS) & tags.keys() for tags in found.values())  # the UI's run
        origins = origins_of_runs(graphql)
        for run, tags in found.items():
            assert tags["dagster/code_location"] == origins[run]


# Runs and a check that fail until a file is there; the check is reported by a sensor, as that of
# the source of trips is.
RECOVERING = """
import os
from pathlib import Path
import dagster as dg

FOLDER = Path(os.environ["NEIGHBOUR_FOLDER"])
FILE = dg.AssetKey("taxi_trips_file")

@dg.asset
def flaky() -> None:
    if not (FOLDER / "mended").exists():
        raise ValueError("[bold] is no markup")

@dg.asset
def hopeless() -> None:
    raise ValueError("never")

@dg.asset
def taxi_trips_file() -> None: ...

@dg.asset_check(asset=FILE)
def source_reachable() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)

@dg.sensor(target=[flaky], minimum_interval_seconds=1,
           default_status=dg.DefaultSensorStatus.RUNNING)
def source_sensor(context):
    tick = int(context.cursor or 0) + 1
    mended = (FOLDER / "mended").exists()
    message = "All 46 published months are loaded and current." if mended else (
        f"Could not reach TLC; try {tick}.")
    return dg.SensorResult(
        skip_reason=message, cursor=str(tick),
        asset_events=[dg.AssetCheckEvaluation(
            FILE, "source_reachable", passed=mended, description=message)])

defs = dg.Definitions(
    assets=[flaky, hopeless, taxi_trips_file], asset_checks=[source_reachable],
    sensors=[source_sensor],
    jobs=[dg.define_asset_job("flaky_job", [flaky]),
          dg.define_asset_job("hopeless_job", [hopeless])],
    executor=dg.in_process_executor,
)
"""


def test_status_has_a_line_per_problem_and_shows_fixes(
    tmp_path: Path, neighbour: Location, environment: dict[str, str]
) -> None:
    (neighbour.folder / "neighbour.py").write_text(RECOVERING)
    home = tmp_path / "home"
    with Instance(home, environment=environment, served=[neighbour]) as instance:
        graphql = instance.graphql
        assert running_at([tmp_path / "elsewhere", home]) == instance.url

        def run(job: str) -> str:
            run_id = graphql.launch("neighbour", job)
            wait_for_status(graphql, run_id)
            return run_id

        def status() -> tuple[bool, list[str]]:
            console = Console(record=True, width=200, file=io.StringIO())
            return show(graphql, console), console.export_text().splitlines()

        run("flaky_job")
        newest = run("flaky_job")

        def is_reported() -> bool:  # for alerts, too, it is one problem
            return any(problem.count >= 3 for problem in failed_checks(graphql, 0.0))

        wait_for(is_reported, "the third evaluation")
        healthy, lines = status()
        assert not healthy
        (flaky,) = (line for line in lines if "flaky_job" in line)
        assert re.match(
            rf"✗ flaky_job failed in neighbour, 2 times since \d\d:\d\d UTC: \S+{newest}", flaky
        )
        assert any("[bold] is no markup" in line for line in lines)
        (check,) = (line for line in lines if "did not pass" in line)
        assert re.match(
            r"✗ check source_reachable of taxi_trips_file did not pass in neighbour, \d+ times",
            check,
        )
        assert re.match(r"  Could not reach TLC; try \d+\.", lines[lines.index(check) + 1])
        assert len(list(failed_checks(graphql, 0.0))) == 1

        (neighbour.folder / "mended").touch()
        run("flaky_job")
        wait_for(lambda: status()[0], "the recovery")
        _, lines = status()
        (flaky,) = (line for line in lines if "flaky_job" in line)
        assert re.match(r"✓ flaky_job failed .* times since .*; fixed since \d\d:\d\d UTC: ", flaky)
        (check,) = (line for line in lines if "did not pass" in line)
        assert "; fixed since " in check
        (source,) = (line for line in lines if line.startswith("Source of"))
        assert re.match(r"Source of yellow trips: All 46 published months .* \(\d+ s ago\)", source)
        assert lines[-1] == (
            "✓ Locations are loaded; every run, check and tick that failed in the last 24 hours "
            "has succeeded since."
        )
        run("hopeless_job")
        assert not status()[0]
    assert running_at([home]) is None
