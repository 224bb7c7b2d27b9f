"""A started instance, queried as its UI queries it."""

import io
import itertools
import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from taxi_platform.instance import Instance, InstanceError
from taxi_platform.status import show
from taxi_platform.workspace import locations
from taxi_shared import settings
from taxi_shared.services import SERVICES
from tests.backfills import launch_backfill, wait_for_backfill
from tests.conftest import Platform
from tests.waiting import wait_for, wait_for_status

pytestmark = pytest.mark.system

CHOSEN = [each for each in SERVICES if each.name in settings.load().services]
TRIPS = [(f"{service.asset}_file", service.asset) for service in CHOSEN]
MONTHS = ["2023-01-01", "2023-02-01", "2023-03-01"]
REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}
# The assets by location. A team may add a location, of which these tests expect nothing.
MAKERS = {
    **dict.fromkeys(["taxi_zones_file", "taxi_zones", *itertools.chain(*TRIPS)], "ingestion"),
    **dict.fromkeys(["trips_by_week", "manhattan_stats", "manhattan_map"], "analytics"),
    **dict.fromkeys(["available_data", "adhoc_request"], "adhoc_reports"),
}


def test_each_location_loads_by_its_own_interpreter(platform: Platform) -> None:
    names = [location.name for location in locations()]
    assert platform.instance.graphql.location_errors() == dict.fromkeys(names)
    pythons = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            home = (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is not ours
        if b"taxi_shared.code_server" in command and str(platform.instance.home).encode() in home:
            pythons.add(command[0].decode())
    assert pythons == {str(location.python) for location in locations()}


def test_one_lineage_graph_crosses_the_locations(platform: Platform) -> None:
    nodes = platform.instance.graphql.ask(
        """{ assetNodes { assetKey { path } isMaterializable
              repository { location { name } } dependencyKeys { path } } }"""
    )["assetNodes"]
    ours = [
        node
        for node in nodes
        if node["isMaterializable"] and node["repository"]["location"]["name"] in MAKERS.values()
    ]
    assert {
        node["assetKey"]["path"][0]: node["repository"]["location"]["name"] for node in ours
    } == MAKERS
    edges = {
        (upstream["path"][0], node["assetKey"]["path"][0])
        for node in ours
        for upstream in node["dependencyKeys"]
    }
    assert edges == {
        *TRIPS,
        ("taxi_zones_file", "taxi_zones"),
        ("taxi_trips", "trips_by_week"),
        ("taxi_trips", "manhattan_stats"),
        ("taxi_zones", "manhattan_stats"),
        ("manhattan_stats", "manhattan_map"),
        *itertools.product(
            [*(service.asset for service in CHOSEN), "taxi_zones"],
            ["available_data", "adhoc_request"],
        ),
    }


def test_definitions_have_their_fixed_names(platform: Platform) -> None:
    repositories = platform.instance.graphql.ask(
        """{ repositoriesOrError { ... on RepositoryConnection { nodes {
              location { name } jobs { name } schedules { name cronSchedule
              scheduleState { status } } sensors { name sensorState { status } }
              assetGroups { groupName } allTopLevelResourceDetails { name } } } } }"""
    )["repositoriesOrError"]["nodes"]
    found = {
        repository["location"]["name"]: repository
        for repository in repositories
        if repository["location"]["name"] in MAKERS.values()
    }

    def names(location: str, kind: str, key: str = "name") -> set[str]:
        return {each[key] for each in found[location][kind]}

    assert "trip_update_job" in names("ingestion", "jobs")
    assert "weekly_update_job" in names("analytics", "jobs")
    assert "adhoc_request_job" in names("adhoc_reports", "jobs")
    assert {s["name"]: s["cronSchedule"] for r in found.values() for s in r["schedules"]} == {
        **{f"{service.job_prefix}_update_schedule": "0 0 5 * *" for service in CHOSEN},
        "weekly_update_schedule": "0 0 * * 1",
        "lake_vacuum_schedule": "0 4 * * *",
    }
    assert "adhoc_request_sensor" in names("adhoc_reports", "sensors")
    assert {g for name in found for g in names(name, "assetGroups", "groupName")} >= {
        "raw_files",
        "ingested",
        "metrics",
        "requests",
    }
    for name in found:
        assert "database" in names(name, "allTopLevelResourceDetails")


def test_backfill_of_three_months_is_one_run(platform: Platform) -> None:
    graphql = platform.instance.graphql
    found = wait_for_backfill(graphql, launch_backfill(graphql, MONTHS))
    assert found["status"] == "COMPLETED_SUCCESS"
    runs = found["runs"]
    assert [run["status"] for run in runs] == ["SUCCESS"]
    events = list(graphql.materializations(runs[0]["runId"]))
    assert sorted((e.asset, e.partition) for e in events) == sorted(
        (asset, month) for asset in ("taxi_trips_file", "taxi_trips") for month in MONTHS
    )
    for event in events:
        assert event.metadata["dagster/row_count"] == 5_000
        assert event.metadata["bytes"] > 0
        assert event.metadata["seconds"] >= 0


def test_request_file_gets_a_chart_and_a_change_another(platform: Platform) -> None:
    pipeline = platform.pipeline()
    month = {"dagster/partition": MONTHS[0]}
    pipeline.run(pipeline.start("a month", "ingestion", "trip_update_job", tags=month))
    chart = platform.root / "outputs" / "january.png"
    request = platform.root / "requests" / "january.json"
    request.parent.mkdir(parents=True, exist_ok=True)
    request.write_text(json.dumps(REQUEST))
    wait_for(chart.exists, "the chart")
    assert chart.read_bytes().startswith(b"\x89PNG")
    first = (chart.with_suffix(".csv")).read_text()
    runs = platform.instance.graphql.runs_of("adhoc_reports", "adhoc_request_job")
    assert len(runs) == 1
    assert platform.instance.graphql.runs_of("analytics", "adhoc_request_job") == {}

    request.write_text(json.dumps({**REQUEST, "borough": "Queens"}))
    wait_for(lambda: chart.with_suffix(".csv").read_text() != first, "the second chart")
    graphql, now = platform.instance.graphql, time.time()
    wait_for(lambda: graphql.ticks_since("adhoc_reports", "adhoc_request_sensor", now), "a tick")
    assert len(graphql.runs_of("adhoc_reports", "adhoc_request_job")) == 2


def test_invalid_request_is_rejected_without_delaying_others(platform: Platform) -> None:
    folder = platform.root / "requests"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bad.json").write_text('{"borough": "Atlantis"')
    (folder / "good.json").write_text(json.dumps(REQUEST))
    outputs = platform.root / "outputs"
    wait_for((outputs / "good.png").exists, "the chart of the good request")
    outcome = json.loads((outputs / "bad.json").read_text())
    assert outcome["status"] == "rejected"
    assert "bad.json is not JSON" in outcome["reason"]
    ticks = platform.instance.graphql.ask(
        """{ sensorOrError(sensorSelector: {repositoryLocationName: "adhoc_reports",
              repositoryName: "__repository__", sensorName: "adhoc_request_sensor"}) {
              ... on Sensor { sensorState { ticks(limit: 50) { status } } } } }"""
    )["sensorOrError"]["sensorState"]["ticks"]
    assert "FAILURE" not in {tick["status"] for tick in ticks}


def test_broken_location_shows_its_error_and_others_load(tmp_path: Path) -> None:
    found = {location.name: location for location in locations()}
    ingestion, analytics = found["ingestion"], found["analytics"]
    broken = tmp_path / "analytics"
    shutil.copytree(analytics.folder / "src" / "analytics", broken / "analytics")
    (broken / "analytics" / "definitions.py").write_text("import a_module_that_is_not_there\n")
    served = [ingestion, replace(analytics, folder=broken, module="analytics.definitions")]
    environment = {"PYTHONPATH": str(broken), "TAXI_DATA_ROOT": str(tmp_path / "data")}
    with Instance(
        tmp_path / "home",
        daemon=False,
        served=[*served, found["adhoc_reports"]],
        environment=environment,
    ) as instance:
        errors = instance.graphql.location_errors()
        assert errors["ingestion"] is None
        assert errors["adhoc_reports"] is None
        assert "a_module_that_is_not_there" in str(errors["analytics"])


def test_second_daemon_on_one_home_is_refused(platform: Platform) -> None:
    with (
        pytest.raises(InstanceError, match="an instance is already running on"),
        Instance(platform.instance.home),
    ):
        pass


def test_busy_port_is_named(platform: Platform, tmp_path: Path) -> None:
    port = int(platform.instance.url.rpartition(":")[2])
    with (
        pytest.raises(InstanceError, match=f"port {port} of 127.0.0.1 is busy.*PORT=3001"),
        Instance(tmp_path, port=port),
    ):
        pass


def test_nothing_of_an_instance_is_left_running(tmp_path: Path) -> None:
    with Instance(tmp_path / "home", daemon=False, served=locations()[:1]) as instance:
        home = str(instance.home)
    left = [
        process.name
        for process in Path("/proc").glob("[0-9]*")
        if int(process.name) != os.getpid() and _mentions(process, home)
    ]
    assert left == []


def test_status_shows_assets_sensors_and_failures(platform: Platform) -> None:
    def status() -> tuple[bool, str]:
        console = Console(record=True, width=200, file=io.StringIO())
        return show(platform.instance.graphql, console), console.export_text()

    healthy, text = status()
    assert healthy, text
    assert re.search(r"taxi_trips +│ ingestion +│ +\d of 3 ", text)
    assert re.search(r"analytics_automation_sensor +│ analytics +│ on ", text)
    assert re.search(r"weekly_update_schedule +│ analytics +│ off +│ +never", text)

    graphql = platform.instance.graphql
    month = {"dagster/partition": MONTHS[0]}
    run_id = graphql.launch("ingestion", "green_update_job", tags=month)  # not in the sample
    assert wait_for_status(graphql, run_id) == "FAILURE"
    healthy, text = status()
    assert not healthy
    what = "green_update_job 2023-01-01 failed in ingestion"
    assert re.search(rf"{what}, \d+ s ago: \S+/runs/{run_id}", text)
    assert "TLC has not published the green trips of 2023-01" in text


def _mentions(process: Path, home: str) -> bool:
    try:
        return home.encode() in (process / "environ").read_bytes()
    except OSError:
        return False
