"""The sensor loads what is published, and names what it waits for, at every tick."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self, cast

import dagster as dg
import pytest

from ingestion.definitions import defs
from ingestion.defs import jobs, source_checks
from ingestion.defs.jobs import publication_sensor
from ingestion.lib import publication
from taxi_shared import keys, source_status
from taxi_shared.services import YELLOW
from taxi_shared.storage import DataRoot

from .conftest import Publisher, status
from .test_schedule import load_published, path, publish, resources

MINUTES = timedelta(minutes=1)
REFUSED = "{} refuses requests (HTTP 403) for {}: it is probably limiting this address"


@dataclass
class Sensor:
    """The sensor of yellow trips at a time that the test sets, with its cursor and its source."""

    evaluate: Callable[[str | None, str], Any]  # Dagster does not export its type
    publisher: Publisher
    root: DataRoot
    now: datetime = datetime(2023, 5, 5, 14, 3, tzinfo=UTC)
    cursor: str | None = None
    data: Any = None

    def tick(self, after: timedelta = timedelta(0), url: str = "") -> list[str]:
        """The partitions to load; the requests of the tick are those of the publisher."""
        self.now += after
        self.publisher.requests.clear()
        self.data = self.evaluate(self.cursor, url or self.publisher.url)
        self.cursor = self.data.cursor
        return [request.run_key.partition(" 2023-05")[0] for request in self.data.run_requests]

    @property
    def requested(self) -> list[str]:
        return sorted(path[-15:-8] for _, path in self.publisher.requests)

    @property
    def status(self) -> source_status.SourceStatus:
        status = source_status.load(self.root, "yellow")
        assert status
        return status

    @property
    def evaluations(self) -> list[tuple[bool, str | None]]:
        return [(event.passed, event.description) for event in self.data.asset_events]


@pytest.fixture
def sensor(
    publisher: Publisher,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Sensor:
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0)

    def evaluate(cursor: str | None, url: str) -> Any:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            resources=resources(url, tmp_path),
            repository_def=defs.get_repository_def(),
        )
        return publication_sensor(YELLOW).evaluate_tick(context)

    sensor = Sensor(evaluate, publisher, DataRoot.at(str(tmp_path)))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cast(Self, sensor.now)

    monkeypatch.setattr(jobs, "datetime", Clock)
    return sensor


def test_every_tick_says_that_all_is_loaded(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    message = "All 4 published months are loaded and current."
    assert sensor.tick() == []
    assert sensor.data.skip_message == sensor.status.message == message
    assert (sensor.status.state, sensor.status.next_check) == (
        "current",
        sensor.now + 1440 * MINUTES,
    )
    assert sensor.evaluations == [(True, message)]
    since = sensor.status.since
    assert sensor.tick(MINUTES) == sensor.requested == []
    assert sensor.data.skip_message == message
    assert sensor.evaluations == []
    assert sensor.tick(1440 * MINUTES) == []
    assert sensor.requested == ["2023-01", "2023-02", "2023-03", "2023-04"]
    assert sensor.status.since == since


def test_pending_month_is_named_with_its_next_check(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03")
    load_published(publisher, instance, tmp_path)
    message = "2023-04 is not published yet; next check at 15:03 UTC."
    for after in (0 * MINUTES, 59 * MINUTES):
        assert sensor.tick(after) == []
        assert sensor.data.skip_message == sensor.status.message == message
        assert sensor.status.state == "pending"
    assert sensor.requested == []
    sensor.tick(MINUTES)
    assert sensor.requested == ["2023-04"]
    assert sensor.status.message == "2023-04 is not published yet; next check at 17:03 UTC."
    publish(publisher, "2023-04")
    assert sensor.tick(120 * MINUTES) == ["2023-04-01"]
    assert sensor.status.message == "2023-04 is being loaded; next check at 17:05 UTC."
    assert sensor.evaluations == [(True, sensor.status.message)]


def test_unreachable_source_is_named_until_it_answers(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    away = "http://127.0.0.1:9"
    assert sensor.tick(url=away) == []
    first = sensor.data.skip_message
    assert first.startswith(f"Could not reach {away} since 14:03 UTC ({away}/trip-data/yellow_trip")
    assert first.endswith("Connection refused); next try at 14:05 UTC.")
    assert sensor.status.message == first
    assert sensor.evaluations == [(False, first)]
    sensor.tick(MINUTES, url=away)
    assert sensor.data.skip_message == first
    assert sensor.evaluations == []
    waits = []
    for _ in range(5):
        sensor.tick(sensor.status.next_check - sensor.now, url=away)
        waits.append((sensor.status.next_check - sensor.now) / MINUTES)
        assert "since 14:03 UTC" in sensor.status.message
        assert sensor.status.state == "unreachable"
    assert waits == [4, 8, 15, 15, 15]


def test_recovered_source_is_checked_for_every_month(
    sensor: Sensor, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "CONCURRENT_REQUESTS", 1)
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    publisher.misbehave[path("2023-01")] = [status(503)]
    assert sensor.tick() == []
    assert sensor.requested == ["2023-01"]
    assert sensor.status.state == "unreachable"
    assert sensor.tick(2 * MINUTES) == ["2023-01-01 to 2023-04-01"]
    assert sensor.requested == ["2023-01", "2023-02", "2023-03", "2023-04"]
    assert sensor.status.message == (
        "2023-01, 2023-02, 2023-03 and 2023-04 are being loaded; next check at 14:07 UTC."
    )
    assert sensor.evaluations == [(True, sensor.status.message)]


def test_another_source_is_checked_at_once(sensor: Sensor, publisher: Publisher) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    sensor.tick(url="http://me:hunter2@127.0.0.1:9/a?token=hunter2")
    assert "hunter2" not in sensor.cursor + sensor.data.skip_message
    assert sensor.tick(url="http://me:hunter2@127.0.0.1:9/a") == []
    assert sensor.tick() == ["2023-01-01 to 2023-04-01"]


def test_block_stops_the_requests_and_is_named(
    sensor: Sensor, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "2022-05-01")
    monkeypatch.setattr(publication, "CONCURRENT_REQUESTS", 1)
    publish(publisher, "2022-05", "2022-06", "2022-07", "2022-08", "2022-09")  # then it blocks
    assert sensor.tick() == ["2022-05-01 to 2022-09-01"]
    assert len(sensor.requested) == 9  # of 12
    assert sensor.status.state == "unreachable"
    assert sensor.status.message == (
        REFUSED.format(publisher.url, "2022-10, 2022-11, 2022-12 and 2023-01")
        + " since 14:03 UTC; next try at 14:08 UTC."
    )
    assert sensor.evaluations == [(False, sensor.status.message)]
    sensor.tick(4 * MINUTES)
    assert sensor.requested == []
    assert sensor.data.skip_message == sensor.status.message
    waits = []
    for _ in range(5):
        sensor.tick(sensor.status.next_check - sensor.now)
        assert len(sensor.requested) < 12
        waits.append((sensor.status.next_check - sensor.now) / MINUTES)
    assert waits == [10, 20, 40, 60, 60]


def test_refused_month_between_published_ones_is_a_block(
    sensor: Sensor, publisher: Publisher
) -> None:
    publish(publisher, "2023-01", "2023-03", "2023-04")
    assert sensor.tick() == ["2023-01-01", "2023-03-01 to 2023-04-01"]
    reason = REFUSED.format(publisher.url, "2023-02 although 2023-03 is published")
    assert sensor.status.message == f"{reason} since 14:03 UTC; next try at 14:08 UTC."


def test_missing_month_between_published_ones_is_no_block(
    sensor: Sensor, publisher: Publisher
) -> None:
    publish(publisher, "2023-01", "2023-03", "2023-04")
    publisher.misbehave[path("2023-02")] = [status(404)]
    assert sensor.tick() == ["2023-01-01", "2023-03-01 to 2023-04-01"]
    assert sensor.status.state == "pending"
    assert "2023-02 is not published yet" in sensor.status.message


def test_refused_loaded_month_is_a_block(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    publisher.files.clear()
    assert sensor.tick() == []
    assert len(sensor.requested) <= 2
    assert sensor.data.skip_message.startswith(
        REFUSED.format(publisher.url, "2023-01, which was published before")
    )


@pytest.mark.parametrize("code", [403, 429, 503])
def test_sensor_waits_as_long_as_the_source_asks(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path, code: int
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    for month in ("2023-01", "2023-02"):
        publisher.misbehave[path(month)] = [status(code, Retry_After="2400")]
    sensor.tick()
    assert sensor.status.next_check - sensor.now == 40 * MINUTES


def test_month_that_always_fails_stops_no_other(
    sensor: Sensor, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    publisher.misbehave[path("2023-01")] = [status(500)] * 9
    requested: set[str] = set()
    for _ in range(3):
        requested |= set(sensor.tick(15 * MINUTES))
    assert "2023-04-01" in {name[-10:] for name in requested}
    assert "HTTP 500" in sensor.status.message


def test_file_url_is_a_source(sensor: Sensor, tmp_path: Path) -> None:
    folder = tmp_path / "a source" / "trip-data"
    uri = folder.parent.as_uri()
    sensor.tick(url=uri)
    assert f"there is no folder {folder.parent}" in sensor.status.message
    folder.mkdir(parents=True)
    (folder / "yellow_tripdata_2023-01.parquet").write_bytes(b"PAR1PAR1")
    assert sensor.tick(2 * MINUTES, url=uri) == ["2023-01-01"]
    assert "2023-02, 2023-03 and 2023-04 are not published yet" in sensor.status.message


def test_unreadable_cursor_starts_again(sensor: Sensor, publisher: Publisher) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    sensor.cursor = json.dumps({"2023-01-01": {"next": 9e9, "wait": 1.0, "due": 0}})
    assert sensor.tick() == ["2023-01-01 to 2023-04-01"]


def test_check_shows_what_the_sensor_reported(sensor: Sensor, instance: dg.DagsterInstance) -> None:
    sensor.tick(url="http://127.0.0.1:9")
    key = dg.AssetCheckKey(keys.TAXI_TRIPS_FILE, "source_reachable")
    for event in sensor.data.asset_events:  # as the daemon does
        instance.report_runless_asset_event(event)
    summary: Any = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert summary.status.value == "FAILED"
    assert summary.event.dagster_event.event_specific_data.description == sensor.status.message


def test_executed_check_asks_for_one_header(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")
    publish(publisher, "2023-01")
    publisher.misbehave["/trip-data/green_tripdata_2023-01.parquet"] = [status(429)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [source_checks.source_reachable],
            instance=instance,
            resources=resources(publisher.url, tmp_path),
            selection=dg.AssetSelection.checks(source_checks.source_reachable),
        )
    found = {each.asset_key: each for each in result.get_asset_check_evaluations()}
    assert found[keys.TAXI_TRIPS_FILE].passed
    green = found[keys.GREEN_TRIPS_FILE]
    assert not green.passed
    assert str(green.description).startswith(f"Could not reach {publisher.url}: ")
    assert sorted(publisher.requests) == [
        ("HEAD", f"/trip-data/{service}_tripdata_2023-01.parquet")
        for service in ("green", "yellow")
    ]
