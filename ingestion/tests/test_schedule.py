"""Schedule and sensor load what is missing and published, and say what they wait for."""

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
    publication_sensor,
    trip_publication_sensor,
    trip_update_schedule,
)
from ingestion.defs.resources import TlcSource
from ingestion.defs.trips import YELLOW
from ingestion.lib.download import SourceMetadata, download
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
        publisher.files[path(month)], publisher.etags[path(month)] = b"PAR1PAR1", etag


def path(month: str) -> str:
    return f"/trip-data/yellow_tripdata_{month}.parquet"


def load_published(publisher: Publisher, instance: dg.DagsterInstance, root: Path) -> None:
    """Fetch what is published, and report it as loaded."""
    for published in publisher.files:
        month = published[-15:-8]
        file = UPath(root / "raw" / f"taxi_trips_{month}.parquet")
        download(f"{publisher.url}{published}", file)
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
    assert data.skip_message == "2023-04 is not published yet."


def test_a_month_that_was_missed_is_caught_up(tick, instance):
    load(instance, "2023-01-01", "2023-03-01")
    requests = tick("2023-02", "2023-04").run_requests
    assert [request.partition_key for request in requests] == ["2023-02-01", "2023-04-01"]
    assert len({request.run_key for request in requests}) == 2


def test_nothing_missing_is_said(tick, instance):
    load(instance, *(f"2023-0{month}-01" for month in (1, 2, 3, 4)))
    assert tick("2023-04").skip_message == "All 4 published months are loaded and current."


def test_a_source_that_cannot_be_asked_is_told(instance, tmp_path, elsewhere):
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOW,
        resources=resources("http://127.0.0.1:9", tmp_path),
        repository_def=defs.get_repository_def(),
    )
    data = elsewhere(lambda: trip_update_schedule.evaluate_tick(context))
    assert data.skip_message.startswith("Could not reach the source (http://127.0.0.1:9/")
    assert data.skip_message.endswith("Connection refused).")


def test_schedule_loads_what_is_published_in_spite_of_a_block(tick, publisher):
    requests = tick("2023-01", "2023-03").run_requests  # 403 for the others
    assert [request.partition_key for request in requests] == ["2023-01-01", "2023-03-01"]


def test_schedule_tells_a_block_from_a_month_to_come(tick, publisher, instance):
    load(instance, "2023-01-01", "2023-03-01")
    assert tick().skip_message == (
        f"{publisher.url} refuses requests (HTTP 403) for 2023-02 although 2023-03 is published: "
        "it is probably limiting this address."
    )


def test_the_jobs_are_a_service_each_and_the_zones_come_with_yellow_trips():
    def assets(job: str) -> set[str]:
        selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
        return {key.to_user_string() for key in selected}

    zones = {"taxi_zones_file", "taxi_zones"}
    assert assets("trip_update_job") == {"taxi_trips_file", "taxi_trips"} | zones
    assert assets("green_update_job") == {"green_trips_file", "green_trips"}
    nodes = {node.name for node in defs.resolve_job_def("trip_update_job").nodes}
    assert not {"up_to_date", "source_reachable"} & nodes  # which no load can report


def test_green_months_are_asked_for_from_the_first_that_there_is(
    publisher, instance, tmp_path, monkeypatch, elsewhere
):
    monkeypatch.setenv("TAXI_START_DATE", "2013-06-01")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2013, 11, 5, tzinfo=UTC),
        resources=resources(publisher.url, tmp_path),
        repository_def=defs.get_repository_def(),
    )
    assert green_update_schedule.cron_schedule == "0 0 5 * *"
    message = elsewhere(lambda: green_update_schedule.evaluate_tick(context)).skip_message
    assert message == "2013-08, 2013-09 and 2013-10 are not published yet."
    assert sorted(path[-15:-8] for _, path in publisher.requests) == [
        "2013-08",
        "2013-09",
        "2013-10",
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


def start(instance: dg.DagsterInstance, location: str, job: str, *assets: dg.AssetKey) -> None:
    """A run of a whole job, or of the assets named, that goes on."""
    instance.add_run(
        dg.DagsterRun(
            job_name=job,
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset(assets) or None,
            tags={"dagster/code_location": location},
        )
    )


@pytest.mark.parametrize(
    ("location", "job", "assets", "waits"),
    [
        ("ingestion", "trip_update_job", [], True),
        ("ingestion", "__ASSET_JOB", [keys.TAXI_TRIPS_FILE, keys.TAXI_TRIPS], True),
        ("ingestion", "__ASSET_JOB", [keys.GREEN_TRIPS_FILE, keys.GREEN_TRIPS], False),
        ("ingestion", "trip_update_job", [keys.TAXI_ZONES_FILE], False),
        ("analytics", "trip_update_job", [], False),  # another team's of the same name
    ],
)
def test_schedule_and_sensor_wait_for_whatever_run_loads_these_months(
    tick, sensor_tick, publisher, instance, location, job, assets, waits
):
    publish(publisher, "2023-01")
    start(instance, location, job, *assets)
    for found in (tick("2023-01"), sensor_tick()):
        assert (not found.run_requests) == waits
        if waits:
            assert found.skip_message == "A run that loads trips is not finished yet."
    assert (publisher.requests == []) == waits


def test_a_replaced_file_whose_load_failed_is_loaded_again(
    tick, publisher, instance, tmp_path, monkeypatch
):
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    for month in (1, 2, 3, 4):
        metadata = SourceMetadata.load(
            UPath(tmp_path / "raw" / f"taxi_trips_2023-0{month}.parquet")
        )
        for version in ("an older one", "another" if month == 2 else metadata.sha256):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    keys.TAXI_TRIPS,
                    partition=f"2023-0{month}-01",
                    tags={"dagster/input_data_version/taxi_trips_file": version},
                )
            )
    monkeypatch.setattr("taxi_shared.versions.RECORDS_AT_ONCE", 3)  # newest first: 4, 4, 3
    assert [request.partition_key for request in tick().run_requests] == ["2023-02-01"]


def test_the_sensors_are_on_unless_the_environment_says_otherwise():
    on = {True: dg.DefaultSensorStatus.RUNNING, False: dg.DefaultSensorStatus.STOPPED}
    for value, environment in (("", "local"), ("off", "local"), ("", "test"), ("on", "test")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAXI_FOLLOW_TLC", value)
            patch.setenv("TAXI_ENVIRONMENT", environment)
            sensor = publication_sensor("any", YELLOW, "trip_update_job")
        assert sensor.default_status == on[value == "on" or (value, environment) == ("", "local")]


def test_the_sensor_asks_for_a_month_whose_load_failed_once_and_not_every_minute(
    sensor_tick, publisher
):
    publish(publisher, "2023-01")
    first = sensor_tick()
    assert [request.partition_key for request in first.run_requests] == ["2023-01-01"]
    publisher.requests.clear()
    assert not sensor_tick(first.cursor).run_requests
    assert publisher.requests == []
