"""Clocks that were wrong for a while, and cursors that cannot be read."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from taxi_platform.graphql import GraphQL
from tests.faults.site import MONTHS, ROWS, Site
from tests.faults.sound import (
    assert_reports,
    assert_sound,
    of_lake,
    of_source,
    wait_for_runs,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

LONGEST_INTERVAL_SECONDS = 60
_SENSORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name minIntervalSeconds sensorState {
      status ticks(limit: 1, statuses: [STARTED, SKIPPED, SUCCESS, FAILURE]) {
        status timestamp } } } } } } }"""
_SET_CURSOR = """mutation ($sensor: SensorSelector!, $cursor: String) {
    setSensorCursor(sensorSelector: $sensor, cursor: $cursor) { __typename } }"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path, TAXI_FOLLOW_TLC="on")


def last_ticks(graphql: GraphQL) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The last tick of each sensor that runs at least once a minute, by its location and name."""
    repositories = graphql.ask(_SENSORS)["repositoriesOrError"]["nodes"]
    return {
        (repository["location"]["name"], sensor["name"]): ticks[0] if ticks else {}
        for repository in repositories
        for sensor in repository["sensors"]
        if sensor["sensorState"]["status"] == "RUNNING"
        and sensor["minIntervalSeconds"] <= LONGEST_INTERVAL_SECONDS
        for ticks in [sensor["sensorState"]["ticks"]]
    }


def wait_for_ticks(graphql: GraphQL) -> None:
    """Wait until each sensor has begun a tick since now, and fail if one fails."""
    begin, found = time.time(), set[tuple[str, str]]()

    def have_all_ticked() -> bool:
        ticks = last_ticks(graphql)
        for sensor, tick in ticks.items():
            if begin < tick.get("timestamp", 0) <= time.time() and tick["status"] != "STARTED":
                assert tick["status"] in ("SKIPPED", "SUCCESS"), sensor
                found.add(sensor)
        return found == ticks.keys()

    wait_for(have_all_ticked, lambda: f"a tick of {last_ticks(graphql).keys() - found}", 180)


def wait_until_loaded(graphql: GraphQL) -> None:
    """Wait until the sensor has loaded the published months."""

    def runs() -> dict[str, str]:
        return graphql.runs_of("ingestion", "trip_update_job")

    def failures() -> str:
        return f"a load by the sensor: {[graphql.run_failure(run) for run in runs()]}"

    wait_for(lambda: "SUCCESS" in runs().values(), failures)


def shift_ticks(site: Site, seconds: float) -> None:
    """Give all sensors and schedules the state that a clock ahead or behind would have left."""
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        for state in instance.all_instigator_state():
            data = state.instigator_data
            times: dict[str, Any] = {
                name: value + seconds
                for name, value in (data._asdict() if data else {}).items()
                if name.endswith("timestamp") and value
            }
            if data and times:
                instance.update_instigator_state(state.with_data(data._replace(**times)))


def shift_files(site: Site, years: int) -> None:
    """Move the times in the platform's own documents."""
    for path in site.data.glob("outputs/*/*.json"):
        document = json.loads(path.read_bytes())
        for key in document.keys() & {"checked", "since", "next_check", "updated"}:
            moment = datetime.fromisoformat(document[key]) + timedelta(days=365 * years)
            document[key] = moment.astimezone(UTC).isoformat()
        path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "years",
    [
        pytest.param(
            10,
            marks=pytest.mark.fault(
                "a clock that was ten years ahead, and is right again",
                "the next start resets the sensors' times; months and requests are taken at once",
                "restarts the platform once the clock is right",
            ),
        ),
        pytest.param(
            -10,
            marks=pytest.mark.fault(
                "a clock that was ten years behind, and is right again",
                "sensors are due at once; nothing is loaded twice",
                "nothing",
            ),
        ),
    ],
)
def test_wrong_clock_stops_nothing(site: Site, years: int) -> None:
    with site.instance() as instance:
        wait_for_ticks(instance.graphql)
        wait_until_loaded(instance.graphql)
    shift_ticks(site, years * 365 * 24 * 3600.0)
    shift_files(site, years)
    request = {"borough": "Bronx", "start_date": "2023-01-10", "end_date": "2023-01-12"}
    (site.data / "requests" / "bronx.json").write_text(json.dumps(request))
    site.publish(ROWS + 1, MONTHS[1:2])
    with site.instance() as instance:
        wait_for_ticks(instance.graphql)
        wait_for((site.data / "outputs" / "bronx.json").exists, "the report")
        wait_for(lambda: "done" in (site.data / "outputs" / "bronx.json").read_text(), "the report")
        assert_reports(site, ["bronx"])
        february = of_source(site, MONTHS[1])
        wait_for(lambda: of_lake(site, "trips")[MONTHS[1]] == february, "the new February")
        wait_for_runs(instance)
        assert_sound(site, instance)
    written = (site.data / "staging" / "trips").glob("partition_date=*/*.parquet")
    assert len(list(written)) == len(MONTHS) + 1  # of February two


@pytest.mark.fault(
    "the cursors of all sensors but automation's are unreadable",
    "each sensor starts again from what is recorded and published",
    "nothing",
)
def test_unreadable_cursors_are_replaced(site: Site) -> None:
    with site.instance() as instance:
        graphql = instance.graphql
        wait_for_ticks(graphql)
        wait_until_loaded(graphql)
        # Those of automation are Dagster's own: there the UI resets the cursor.
        own = [each for each in last_ticks(graphql) if not each[1].endswith("automation_sensor")]
        for location, name in own:
            graphql.ask(
                _SET_CURSOR,
                sensor={
                    "repositoryLocationName": location,
                    "repositoryName": "__repository__",
                    "sensorName": name,
                },
                cursor="\u0000{not a cursor",
            )
        wait_for_ticks(graphql)
        assert_sound(site, instance)
