"""The schedule asks for what is missing and published, and says why it waits."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import dagster as dg
import pytest

from ingestion.definitions import defs
from ingestion.defs.jobs import green_update_schedule, trip_update_schedule
from ingestion.defs.resources import TlcSource
from ingestion.lib.publication import missing
from taxi_shared import keys

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
def tick(publisher, instance, monkeypatch, elsewhere):
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")

    def evaluate(*published: str):
        for month in published:
            publisher.files[f"/trip-data/yellow_tripdata_{month}.parquet"] = b"PAR1PAR1"
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=NOW,
            resources={"tlc": TlcSource(url=publisher.url, zones_url="")},
            repository_def=defs.get_repository_def(),
        )
        return elsewhere(lambda: trip_update_schedule.evaluate_tick(context))

    return evaluate


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
    assert tick("2023-04").skip_message == "Every month so far is loaded."


def test_a_source_that_cannot_be_asked_is_told(instance, elsewhere):
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOW,
        resources={"tlc": TlcSource(url="http://127.0.0.1:9", zones_url="")},
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
    publisher, instance, monkeypatch, elsewhere
):
    monkeypatch.setenv("TAXI_START_DATE", "2013-11-01")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2014, 4, 5, tzinfo=UTC),
        resources={"tlc": TlcSource(url=publisher.url, zones_url="")},
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


def test_missing_months_come_oldest_first():
    assert missing(["2023-03-01", "2023-01-01", "2023-02-01"], ["2023-02-01"]) == [
        "2023-01-01",
        "2023-03-01",
    ]
