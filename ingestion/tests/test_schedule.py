"""The schedule asks for what is missing and published, and says why it waits."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from ingestion.definitions import defs
from ingestion.defs.jobs import (
    green_update_schedule,
    trip_publication_sensor,
    trip_update_schedule,
)
from ingestion.defs.resources import TlcSource
from ingestion.lib import publication
from ingestion.lib.download import download
from ingestion.lib.publication import Turn
from taxi_shared import keys
from taxi_shared.database import LakeDatabase

from .conftest import Publisher

NOW = datetime(2023, 5, 5, tzinfo=UTC)


@pytest.fixture
def elsewhere():
    """Calls in a thread: Dagster keeps the instance that a tick opened as that thread's own."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call: pool.submit(call).result()


@pytest.fixture
def instance(tmp_path, elsewhere):
    stack = ExitStack()  # of an instance on disk, as a schedule's context wants it
    yield elsewhere(lambda: stack.enter_context(dg.DagsterInstance.local_temp(str(tmp_path))))
    elsewhere(stack.close)


@pytest.fixture
def tick(publisher, instance, tmp_path, monkeypatch, elsewhere):
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")

    def evaluate(*published: str):
        publish(publisher, *published)
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=NOW,
            resources=resources(publisher.url, tmp_path),
            repository_def=defs.get_repository_def(),
        )
        return elsewhere(lambda: trip_update_schedule.evaluate_tick(context))

    return evaluate


@pytest.fixture
def sensor_tick(publisher, instance, tmp_path, monkeypatch, elsewhere):
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")
    monkeypatch.setenv("TAXI_END_DATE", "2023-05-01")

    def evaluate(cursor: str | None = None):
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            resources=resources(publisher.url, tmp_path),
            repository_def=defs.get_repository_def(),
        )
        return elsewhere(lambda: trip_publication_sensor.evaluate_tick(context))

    return evaluate


def resources(url: str, root: Path) -> dict[str, object]:
    return {
        "tlc": TlcSource(url=url, zones_url=""),
        "database": LakeDatabase(data_root=str(root)),
    }


def publish(publisher: Publisher, *months: str, etag: str = '"1"') -> None:
    for month in months:
        path = f"/trip-data/yellow_tripdata_{month}.parquet"
        publisher.files[path], publisher.etags[path] = b"PAR1PAR1", etag


def load_published(publisher: Publisher, instance: dg.DagsterInstance, root: Path) -> None:
    """Fetch what is published, and report it as loaded."""
    for path in publisher.files:
        month = path[-15:-8]
        file = UPath(root / "raw" / f"taxi_trips_{month}.parquet")
        download(f"{publisher.url}{path}", file)
        load(instance, f"{month}-01")
    publisher.requests.clear()


def load(instance: dg.DagsterInstance, *partitions: str) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(keys.TAXI_TRIPS, partition=partition)
        )


def test_it_runs_on_the_fifth_at_midnight():
    assert trip_update_schedule.cron_schedule == "0 0 5 * *"


def test_a_published_month_gets_a_run_with_its_partition_key(tick, instance):
    load(instance, "2023-01-01", "2023-02-01")
    requests = tick("2023-03").run_requests
    assert [request.partition_key for request in requests] == ["2023-03-01"]


def test_a_month_not_yet_published_is_a_reason_to_skip_and_no_failure(tick, instance):
    load(instance, "2023-01-01", "2023-02-01", "2023-03-01")
    data = tick()
    assert not data.run_requests
    assert "2023-04: TLC has not published this month yet" in data.skip_message
    assert "403" in data.skip_message


def test_a_month_that_was_missed_is_caught_up(tick, instance):
    load(instance, "2023-01-01", "2023-03-01")
    requests = tick("2023-02", "2023-04").run_requests
    assert [request.partition_key for request in requests] == ["2023-02-01", "2023-04-01"]
    assert len({request.run_key for request in requests}) == 2


def test_nothing_missing_is_said(tick, instance):
    load(instance, *(f"2023-0{month}-01" for month in (1, 2, 3, 4)))
    assert tick("2023-04").skip_message == "Every month so far is loaded, and as it is published."


def test_a_source_that_cannot_be_asked_is_told(instance, tmp_path, elsewhere):
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOW,
        resources=resources("http://127.0.0.1:9", tmp_path),
        repository_def=defs.get_repository_def(),
    )
    data = elsewhere(lambda: trip_update_schedule.evaluate_tick(context))
    assert "could not be asked for" in data.skip_message


def test_the_jobs_are_a_service_each_and_the_zones_come_with_yellow_trips():
    def assets(job: str) -> set[str]:
        selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
        return {key.to_user_string() for key in selected}

    zones = {"taxi_zones_file", "taxi_zones"}
    assert assets("trip_update_job") == {"taxi_trips_file", "taxi_trips"} | zones
    assert assets("green_update_job") == {"green_trips_file", "green_trips"}


def test_green_months_are_asked_for_from_the_first_that_there_is(
    publisher, instance, tmp_path, monkeypatch, elsewhere
):
    monkeypatch.setenv("TAXI_START_DATE", "2013-11-01")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2014, 4, 5, tzinfo=UTC),
        resources=resources(publisher.url, tmp_path),
        repository_def=defs.get_repository_def(),
    )
    assert green_update_schedule.cron_schedule == "0 0 5 * *"
    message = elsewhere(lambda: green_update_schedule.evaluate_tick(context)).skip_message
    assert message.startswith("2014-01: TLC has not published this month yet")
    assert sorted(path[-15:-8] for _, path in publisher.requests) == [
        "2014-01",
        "2014-02",
        "2014-03",
    ]


def test_months_side_by_side_are_one_run(tick, instance):
    load(instance, "2023-01-01")
    (request,) = tick("2023-02", "2023-03", "2023-04").run_requests
    assert request.partition_key_range == dg.PartitionKeyRange("2023-02-01", "2023-04-01")


def test_a_month_that_was_replaced_is_asked_for_with_one_head_and_loaded_again(
    tick, publisher, instance, tmp_path
):
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    assert not tick().run_requests
    assert sorted(publisher.requests) == [
        ("HEAD", f"/trip-data/yellow_tripdata_2023-0{month}.parquet") for month in (1, 2, 3, 4)
    ]
    publish(publisher, "2023-02", etag='"2"')
    requests = tick().run_requests
    assert [request.partition_key for request in requests] == ["2023-02-01"]


def test_the_sensor_loads_a_month_when_it_appears_and_again_when_it_is_replaced(
    sensor_tick, publisher, instance, tmp_path
):
    publish(publisher, "2023-01", "2023-02", "2023-03")
    (request,) = sensor_tick().run_requests
    assert request.partition_key_range == dg.PartitionKeyRange("2023-01-01", "2023-03-01")
    load_published(publisher, instance, tmp_path)
    assert not sensor_tick().run_requests
    publish(publisher, "2023-03", etag='"2"')
    assert [r.partition_key for r in sensor_tick().run_requests] == ["2023-03-01"]


def test_the_sensor_does_not_ask_again_at_its_next_look(sensor_tick, publisher, instance, tmp_path):
    publish(publisher, "2023-01", "2023-02", "2023-03")
    load_published(publisher, instance, tmp_path)
    first = sensor_tick()
    assert len(publisher.requests) == 4
    assert not sensor_tick(first.cursor).run_requests
    assert len(publisher.requests) == 4


def test_the_sensor_waits_for_a_run_that_loads_months(sensor_tick, publisher, instance):
    publish(publisher, "2023-01")
    run = dg.DagsterRun(job_name="trip_update_job", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    data = sensor_tick()
    assert not data.run_requests
    assert data.skip_message == "A run of trip_update_job is not finished yet."
    assert publisher.requests == []


def test_the_wait_for_a_month_that_is_not_published_doubles_to_a_day():
    asked = publication.Outlook((), (), {"2023-04-01": "not there"})
    turns: dict[str, Turn] = {}
    hours = []
    now = 0.0
    for _ in range(7):
        turns = publication.turns_after(["2023-03-01", "2023-04-01"], turns, asked, now)
        assert turns["2023-03-01"].wait == 24 * 3600  # loaded: a day from the first
        hours.append(turns["2023-04-01"].wait / 3600)
        now = turns["2023-04-01"].next
    assert hours == [1, 2, 4, 8, 16, 24, 24]


def test_a_month_that_is_due_is_asked_for_at_the_next_turn_lest_its_run_fails():
    asked = publication.Outlook(("2023-03-01",), ("2023-01-01",), {})
    turns = publication.turns_after(["2023-01-01", "2023-03-01"], {}, asked, 0.0)
    assert publication.turns_due(["2023-01-01", "2023-03-01"], turns, 1.0) == [
        "2023-01-01",
        "2023-03-01",
    ]
