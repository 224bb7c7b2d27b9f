"""The schedule asks for what is missing and published, and says why it waits."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from ingestion.definitions import defs
from ingestion.defs.jobs import trip_update_schedule
from ingestion.defs.resources import TlcSource
from ingestion.lib.publication import missing
from taxi_shared import keys

NOW = datetime(2023, 5, 5, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:  # a context wants one on disk
        yield local


@pytest.fixture
def tick(publisher, instance, monkeypatch):
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
        return trip_update_schedule.evaluate_tick(context)

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


def test_a_source_that_cannot_be_asked_is_told(instance):
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOW,
        resources={"tlc": TlcSource(url="http://127.0.0.1:9", zones_url="")},
        repository_def=defs.get_repository_def(),
    )
    data = trip_update_schedule.evaluate_tick(context)
    assert "could not be asked for" in data.skip_message


def test_missing_months_come_oldest_first():
    assert missing(["2023-03-01", "2023-01-01", "2023-02-01"], ["2023-02-01"]) == [
        "2023-01-01",
        "2023-03-01",
    ]
