"""Automation on an instance with a daemon: new months, replaced months, reloads, backfills."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline, PipelineError, Run
from taxi_platform.sample import write_sample
from taxi_platform.workspace import locations
from taxi_shared import tables
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot

from .backfills import launch_backfill, wait_for_backfill
from .waiting import wait_for

pytestmark = pytest.mark.system

MONTHS = MonthRange.between("2023-01", "2023-02")
SENSOR = "trip_publication_sensor"
# Of a location that a team has added, no test here knows the assets.
SERVED = [each for each in locations() if each.name in ("ingestion", "analytics", "adhoc_reports")]
ZONES = ["taxi_zones_file", "taxi_zones"]
ZONES_JOB = JobSubset("trip_update_job", ZONES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_sample(tmp_path / "source", MONTHS.months, 2_000)
    return tmp_path / "source"


@contextmanager
def running(
    folder: Path, source: Path, months: MonthRange, follow_tlc: str = "off"
) -> Iterator[Pipeline]:
    """An instance over some months, with its data root in a folder."""
    environment = {
        "TAXI_DATA_ROOT": str(folder / "data"),
        "TLC_SOURCE_URL": str(source),
        "TAXI_ZONES_URL": str(source / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": months.first.isoformat(),
        "TAXI_END_DATE": months.end.isoformat(),
        "TAXI_FOLLOW_TLC": follow_tlc,
    }
    with Instance(folder / "home", environment=environment, served=SERVED) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()
        yield pipeline


def follow(pipeline: Pipeline, began: float) -> None:
    """Watch the runs that automation requests until two evaluations have requested none."""
    pipeline.follow_automation(began, time.time(), quiet_ticks=2)


def next_request(pipeline: Pipeline, moment: float) -> str:
    """The one run that the publication sensor requests after a moment, in seconds since 1970."""

    def requested() -> list[str]:
        ticks = pipeline.graphql.ticks_since("ingestion", SENSOR, moment)
        return [run_id for tick in ticks for run_id in tick.requested]

    (run_id,) = wait_for(requested, f"a request of {SENSOR}")
    return run_id


def clear_cursor_of_publication_sensor(pipeline: Pipeline) -> None:
    """Let the sensor check every month at its next evaluation, as it does after a day.

    An evaluation writes its cursor at its end, over one that is set meanwhile.
    """
    moment = time.time()
    wait_for(lambda: pipeline.graphql.ticks_since("ingestion", SENSOR, moment), "an evaluation")
    time.sleep(2)  # it shows as ended before its cursor is written
    pipeline.graphql.ask(
        """mutation ($sensor: SensorSelector!) {
            setSensorCursor(sensorSelector: $sensor, cursor: null) { __typename } }""",
        sensor={
            "repositoryLocationName": "ingestion",
            "repositoryName": "__repository__",
            "sensorName": SENSOR,
        },
    )


def weekly_trips(source: Path) -> dict[str, int]:
    """Trips by the Sunday that begins the week of their pickup, by pandas from TLC's files."""
    files = sorted((source / "trip-data").glob("yellow_*.parquet"))
    pickups = pd.concat(pd.read_parquet(file)["tpep_pickup_datetime"] for file in files)
    sundays = pickups.dt.normalize() - pd.to_timedelta((pickups.dt.day_of_week + 1) % 7, unit="D")
    weeks = [week.isoformat() for week in MONTHS.full_weeks]
    counts = sundays.dt.strftime("%Y-%m-%d").value_counts()
    return {week: int(counts.get(week, 0)) for week in weeks}


def written_weeks(tmp_path: Path) -> dict[str, int]:
    frame = pd.read_csv(tmp_path / "data" / "outputs" / "trips_by_week.csv", dtype={"period": str})
    return dict(zip(frame["period"], frame["num_trips"], strict=True))


@contextmanager
def following(pipeline: Pipeline, tmp_path: Path, expected: dict[str, int]) -> Iterator[None]:
    """Check that what depends on trips follows a change within the block, with these weeks."""
    pipeline.materialized.clear()
    began = time.time()
    yield
    follow(pipeline, began)
    assert written_weeks(tmp_path) == expected
    assert {m.asset for m in pipeline.materialized} >= {
        *("trips_by_week", "manhattan_stats", "manhattan_map"),
    }


def roll_back_january(folder: Path) -> None:
    """Put back January's first version, which the history lists with its source."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "taxi_platform", *arguments],
            env={
                **os.environ,
                "DAGSTER_HOME": str(folder / "home"),
                "TAXI_DATA_ROOT": str(folder / "data"),
                "COLUMNS": "300",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    table = DataRoot.at(str(folder / "data"))
    commits = [c for c in Lake(table).history(tables.TRIPS) if c.details.get("month") == "2023-01"]
    newest, first = commits
    lines = [line.split() for line in run("history", "trips", "--month", "2023-01").splitlines()]
    assert [line[0] for line in lines] == ["version", str(newest.version), str(first.version)]
    file = folder / "source" / "trip-data" / "yellow_tripdata_2023-01.parquet"
    for line, commit in zip(lines[1:], commits, strict=True):
        assert line[-4:] == [
            "loaded",
            commit.details["run"][:8],
            commit.details["sha256"][:8],
            str(file),
        ]
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert newest.details["sha256"] == sha256 != first.details["sha256"]
    run("rollback", "trips", "--month", "2023-01", "--to", str(first.version))


def test_automation_loads_new_and_replaced_months(source: Path, tmp_path: Path) -> None:
    with running(tmp_path, source, MONTHS, follow_tlc="on") as pipeline:
        months_come_and_change(pipeline, source, tmp_path)


def months_come_and_change(pipeline: Pipeline, source: Path, tmp_path: Path) -> None:
    began = 0.0  # the sensor is on from the start
    appeared = next_request(pipeline, began)
    pipeline.run(Run("months that appeared", appeared))
    follow(pipeline, began)
    assert written_weeks(tmp_path) == weekly_trips(source)
    assert {m.asset for m in pipeline.materialized} == {
        *("taxi_trips_file", "taxi_trips", "taxi_zones_file", "taxi_zones"),
        *("trips_by_week", "manhattan_stats", "manhattan_map"),
    }
    # Dagster counts a load that ends during an evaluation in that evaluation and in the next one:
    # what depends on all months may be materialized twice, what has partitions never is.
    partitioned = [(m.asset, m.partition) for m in pipeline.materialized if m.partition]
    assert len(set(partitioned)) == len(partitioned)

    before = written_weeks(tmp_path)
    pipeline.materialized.clear()
    began = time.time()
    january = source / "trip-data" / "yellow_tripdata_2023-01.parquet"
    pd.read_parquet(january).iloc[:1500].to_parquet(january)
    clear_cursor_of_publication_sensor(pipeline)
    replaced = next_request(pipeline, began)
    pipeline.run(Run("a month that was replaced", replaced))
    follow(pipeline, began)
    after = written_weeks(tmp_path)
    assert after == weekly_trips(source)
    remade = {str(m.partition) for m in pipeline.materialized if m.asset == "trips_by_week"}
    assert {week for week in after if after[week] != before[week]} <= remade
    last = (MONTHS.months[1] + timedelta(days=7)).isoformat()
    assert max(remade) < last  # February's own weeks were left alone
    loaded = [m.partition for m in pipeline.materialized if m.asset == "taxi_trips"]
    assert loaded == ["2023-01-01"]

    # January as it was before, and as it is.
    with following(pipeline, tmp_path, before):
        roll_back_january(tmp_path)
    with following(pipeline, tmp_path, after):
        pipeline.ingest(MonthRange.between("2023-01", "2023-01"))

    # January again, unchanged: nothing downstream runs, and nothing is stale.
    pipeline.materialized.clear()
    began = time.time()
    pipeline.ingest(MonthRange.between("2023-01", "2023-01"))
    follow(pipeline, began)
    assert {m.asset for m in pipeline.materialized} <= {
        *("taxi_trips_file", "taxi_trips", "taxi_zones_file", "taxi_zones")
    }
    assert set(stale_statuses(pipeline).values()) == {"FRESH"}

    # Invalid zones: the check blocks them, and the previous zones stay.
    pipeline.materialized.clear()
    lake = Lake(DataRoot.at(str(tmp_path / "data")))
    kept = lake.snapshot().versions(tables.ZONES)
    with (source / "misc" / "taxi_zones.csv").open("a") as file:
        file.write("999,0,MULTIPOLYGON EMPTY,0,Nowhere,999,Manhattan,true\n")
    began = time.time()
    with pytest.raises(PipelineError, match="999"):
        pipeline.run(
            Run(
                "zones that are wrong",
                pipeline.graphql.launch("ingestion", ZONES_JOB),
            )
        )
    follow(pipeline, began)
    assert [m.asset for m in pipeline.materialized] == ["taxi_zones_file"]
    assert lake.snapshot().versions(tables.ZONES) == kept
    (check,) = pipeline.graphql.ask(
        """{ assetCheckExecutions(assetKey: {path: ["taxi_zones"]}, checkName: "no_zone_twice",
              limit: 1) { status evaluation { severity description } } }"""
    )["assetCheckExecutions"]
    assert check["status"] == "FAILED"
    assert check["evaluation"]["severity"] == "ERROR"
    assert "row 265: LocationID 999 does not exist" in check["evaluation"]["description"]


def test_weeks_wait_for_months_and_survive_a_reload(source: Path, tmp_path: Path) -> None:
    with running(tmp_path, source, MONTHS) as pipeline:
        began = time.time()
        pipeline.ingest(MonthRange.between("2023-01", "2023-01"))
        follow(pipeline, began)
        whole = [week.isoformat() for week in MonthRange.between("2023-01", "2023-01").full_weeks]
        assert list(written_weeks(tmp_path)) == whole
        assert "2023-01-29" not in whole

        # `eager` has been seen to stop for good after a reload (dagster-io/dagster#33656).
        for location in ("ingestion", "analytics"):
            reload(pipeline, location)
        pipeline.materialized.clear()
        began = time.time()
        pipeline.ingest(MonthRange.between("2023-02", "2023-02"))
        follow(pipeline, began)
        assert written_weeks(tmp_path) == weekly_trips(source)
        assert "manhattan_map" in {m.asset for m in pipeline.materialized}
        assert [m.partition for m in pipeline.materialized].count("2023-01-29") == 1

        # The schedules have nothing left to do.
        for location, schedule, reason in (
            ("ingestion", "trip_update_schedule", "All 2 published months are loaded"),
            ("analytics", "weekly_update_schedule", "weeks are up to date."),
        ):
            assert reason in dry_run(pipeline, location, schedule)
        assert set(stale_statuses(pipeline).values()) == {"FRESH"}

        # A zone is renamed: assets that show its name are stale until automation runs.
        pipeline.materialized.clear()
        file = source / "misc" / "taxi_zones.csv"
        published = pd.read_csv(file)
        published.loc[(published["borough"] == "Manhattan").idxmax(), "zone"] = "Alphabet Town"
        published.to_csv(file, index=False)
        set_sensor(pipeline, "stopSensor")
        began = time.time()
        run_id = pipeline.graphql.launch("ingestion", ZONES_JOB)
        pipeline.run(Run("a zone with another name", run_id))
        stale = stale_statuses(pipeline)
        assert {name for name, status in stale.items() if status == "STALE"} >= {"manhattan_stats"}
        assert not any(stale[week] == "STALE" for week in weekly_trips(source))
        set_sensor(pipeline, "startSensor")
        follow(pipeline, began)
        made = [m.asset for m in pipeline.materialized]
        assert sorted(made) == ["manhattan_map", "manhattan_stats", *sorted(ZONES)]
        stats = tmp_path / "data" / "staging" / "manhattan_stats.geojson"
        assert "Alphabet Town" in stats.read_text()
        assert set(stale_statuses(pipeline).values()) == {"FRESH"}


def reload(pipeline: Pipeline, location: str) -> None:
    """Reload a location's code, as the UI does."""
    answer = pipeline.graphql.ask(
        """mutation ($location: String!) {
            reloadRepositoryLocation(repositoryLocationName: $location) { __typename
              ... on PythonError { message } } }""",
        location=location,
    )["reloadRepositoryLocation"]
    assert answer["__typename"] == "WorkspaceLocationEntry", answer
    pipeline.wait_for_locations()


def set_sensor(pipeline: Pipeline, mutation: str) -> None:
    """Stop or start analytics' automation."""
    sensor = {
        "repositoryLocationName": "analytics",
        "repositoryName": "__repository__",
        "sensorName": "analytics_automation_sensor",
    }
    if mutation == "startSensor":
        pipeline.graphql.start_sensor("analytics", "analytics_automation_sensor")
        return
    found = pipeline.graphql.ask(
        """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
            ... on Sensor { id } } }""",
        sensor=sensor,
    )["sensorOrError"]
    answer = pipeline.graphql.ask(
        """mutation ($id: String!) { stopSensor(id: $id) { __typename
            ... on PythonError { message } } }""",
        id=found["id"],
    )["stopSensor"]
    assert answer["__typename"] == "StopSensorMutationResult", answer


def dry_run(pipeline: Pipeline, location: str, schedule: str) -> str:
    """Why a schedule would skip now, from the UI's preview of a tick."""
    answer = pipeline.graphql.ask(
        """mutation ($schedule: ScheduleSelector!, $now: Float) {
            scheduleDryRun(selectorData: $schedule, timestamp: $now) { __typename
              ... on PythonError { message }
              ... on DryRunInstigationTick { evaluationResult {
                skipReason runRequests { runKey } error { message } } } } }""",
        schedule={
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "scheduleName": schedule,
        },
        now=time.time(),
    )["scheduleDryRun"]
    result = answer["evaluationResult"]
    assert not result["error"], answer
    assert not result["runRequests"]
    return str(result["skipReason"])


def stale_statuses(pipeline: Pipeline) -> dict[str, str]:
    """The stale status of analytics' assets, by partition where there are partitions."""
    nodes = pipeline.graphql.ask(
        """query ($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {
            assetKey { path } staleStatus partitionKeys } }""",
        keys=[{"path": [name]} for name in ("manhattan_stats", "manhattan_map")],
    )["assetNodes"]
    found = {node["assetKey"]["path"][0]: node["staleStatus"] for node in nodes}
    for week in MONTHS.full_weeks:
        (node,) = pipeline.graphql.ask(
            """query ($keys: [AssetKeyInput!], $week: String) { assetNodes(assetKeys: $keys) {
                staleStatus(partition: $week) } }""",
            keys=[{"path": ["trips_by_week"]}],
            week=week.isoformat(),
        )["assetNodes"]
        found[week.isoformat()] = node["staleStatus"]
    return found


def backfill(pipeline: Pipeline, months: MonthRange) -> None:
    """Load months by a backfill, as the UI does; wait for its run."""
    backfill_id = launch_backfill(pipeline.graphql, [month.isoformat() for month in months.months])
    (run_id,) = wait_for(
        lambda: pipeline.graphql.runs_of_backfill(backfill_id), "the run of the backfill"
    )
    pipeline.run(Run("36 months", run_id))
    # Until Dagster has closed the backfill, automation waits for its months.
    found = wait_for_backfill(pipeline.graphql, backfill_id)
    assert found["status"] == "COMPLETED_SUCCESS", found["error"]


def test_backfill_of_36_months_is_one_run_and_starts_two(tmp_path: Path) -> None:
    years = MonthRange.between("2021-01", "2023-12")
    write_sample(tmp_path / "source", years.months, 200)
    with running(tmp_path, tmp_path / "source", years) as pipeline:
        pipeline.run(Run("zones", pipeline.graphql.launch("ingestion", ZONES_JOB)))
        began = time.time()
        backfill(pipeline, years)
        follow(pipeline, began)
        runs = runs_of_analytics(pipeline)
    made = [(m.asset, m.partition) for m in pipeline.materialized]
    # The weeks, and the statistics with the map: these perhaps twice, see above.
    assert len(runs) in (2, 3)
    partitioned = [each for each in made if each[1]]
    assert len(set(partitioned)) == len(partitioned)
    assert sum(asset == "taxi_trips" for asset, _ in made) == 36
    weeks = {partition for asset, partition in made if asset == "trips_by_week"}
    assert weeks == {week.isoformat() for week in years.full_weeks} | {"2020-12-27"}
    assert {asset for asset, _ in made} >= {"manhattan_stats", "manhattan_map"}


def runs_of_analytics(pipeline: Pipeline) -> set[str]:
    """The ids of all runs of the location analytics."""
    found = pipeline.graphql.ask(
        "{ runsOrError { ... on Runs { results { runId tags { key value } } } } }"
    )["runsOrError"]["results"]
    location = {"key": "dagster/code_location", "value": "analytics"}
    return {run["runId"] for run in found if location in run["tags"]}
