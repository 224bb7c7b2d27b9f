"""Schedule and sensor load months that are published and missing, and say what they wait for."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from upath import UPath

from ingestion.definitions import defs
from ingestion.defs.jobs import publication_sensor, update_schedule
from ingestion.defs.resources import TlcSource
from ingestion.lib.download import SourceMetadata, download
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.services import GREEN, YELLOW

from .conftest import Publisher

NOW = datetime(2023, 5, 5, tzinfo=UTC)
trip_update_schedule, green_update_schedule = update_schedule(YELLOW), update_schedule(GREEN)
trip_publication_sensor = publication_sensor(YELLOW)

InThread = Callable[[Callable[[], Any]], Any]
# Dagster does not export the types of what a tick evaluates to.
Tick = Callable[..., Any]
SensorTick = Callable[..., Any]


@pytest.fixture
def elsewhere() -> Iterator[InThread]:
    """Call in one thread: Dagster keeps the instance that a tick opens per thread."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call: pool.submit(call).result()


@pytest.fixture
def instance(tmp_path: Path, elsewhere: InThread) -> Iterator[dg.DagsterInstance]:
    stack = ExitStack()  # of an instance on disk, as a schedule's context wants it
    yield elsewhere(lambda: stack.enter_context(dg.DagsterInstance.local_temp(str(tmp_path))))
    elsewhere(stack.close)


@pytest.fixture
def tick(
    publisher: Publisher,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: InThread,
) -> Tick:
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")

    def evaluate(*published: str) -> Any:
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
def sensor_tick(
    publisher: Publisher,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: InThread,
) -> SensorTick:
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")
    monkeypatch.setenv("TAXI_END_DATE", "2023-05-01")

    def evaluate(cursor: str | None = None) -> Any:
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


def test_schedule_runs_on_the_fifth_at_midnight() -> None:
    assert trip_update_schedule.cron_schedule == "0 0 5 * *"


def test_published_month_gets_a_run_of_its_partition(
    tick: Tick, instance: dg.DagsterInstance
) -> None:
    load(instance, "2023-01-01", "2023-02-01")
    requests = tick("2023-03").run_requests
    assert [request.partition_key for request in requests] == ["2023-03-01"]


def test_month_not_yet_published_is_skipped(tick: Tick, instance: dg.DagsterInstance) -> None:
    load(instance, "2023-01-01", "2023-02-01", "2023-03-01")
    data = tick()
    assert not data.run_requests
    assert data.skip_message == "2023-04 is not published yet."


def test_missed_month_is_caught_up(tick: Tick, instance: dg.DagsterInstance) -> None:
    load(instance, "2023-01-01", "2023-03-01")
    requests = tick("2023-02", "2023-04").run_requests
    assert [request.partition_key for request in requests] == ["2023-02-01", "2023-04-01"]
    assert len({request.run_key for request in requests}) == 2


def test_schedule_says_that_all_months_are_current(
    tick: Tick, instance: dg.DagsterInstance
) -> None:
    load(instance, *(f"2023-0{month}-01" for month in (1, 2, 3, 4)))
    assert tick("2023-04").skip_message == "All 4 published months are loaded and current."


def test_unreachable_source_is_reported(
    instance: dg.DagsterInstance, tmp_path: Path, elsewhere: InThread
) -> None:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NOW,
        resources=resources("http://127.0.0.1:9", tmp_path),
        repository_def=defs.get_repository_def(),
    )
    data = elsewhere(lambda: trip_update_schedule.evaluate_tick(context))
    assert data.skip_message.startswith("Could not reach the source (http://127.0.0.1:9/")
    assert data.skip_message.endswith("Connection refused).")


def test_schedule_loads_published_months_despite_a_block(tick: Tick, publisher: Publisher) -> None:
    requests = tick("2023-01", "2023-03").run_requests  # 403 for the others
    assert [request.partition_key for request in requests] == ["2023-01-01", "2023-03-01"]


def test_schedule_distinguishes_a_block_from_a_future_month(
    tick: Tick, publisher: Publisher, instance: dg.DagsterInstance
) -> None:
    load(instance, "2023-01-01", "2023-03-01")
    assert tick().skip_message == (
        f"{publisher.url} refuses requests (HTTP 403) for 2023-02 although 2023-03 is published: "
        "it is probably limiting this address."
    )


def test_each_service_has_a_job_and_yellow_loads_zones() -> None:
    def assets(job: str) -> set[str]:
        selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
        return {key.to_user_string() for key in selected}

    zones = {"taxi_zones_file", "taxi_zones"}
    assert assets("trip_update_job") == {"taxi_trips_file", "taxi_trips"} | zones
    assert assets("green_update_job") == {"green_trips_file", "green_trips"}
    nodes = {node.name for node in defs.resolve_job_def("trip_update_job").nodes}
    assert not {"up_to_date", "source_reachable"} & nodes  # which no load can report


def test_green_months_start_with_the_first_published(
    publisher: Publisher,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: InThread,
) -> None:
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


def test_consecutive_months_are_one_run(tick: Tick, instance: dg.DagsterInstance) -> None:
    load(instance, "2023-01-01")
    (request,) = tick("2023-02", "2023-03", "2023-04").run_requests
    assert request.partition_key_range == dg.PartitionKeyRange("2023-02-01", "2023-04-01")


def test_replaced_month_is_found_with_one_request_and_loaded(
    tick: Tick, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    assert not tick().run_requests
    assert sorted(publisher.requests) == [
        ("HEAD", f"/trip-data/yellow_tripdata_2023-0{month}.parquet") for month in (1, 2, 3, 4)
    ]
    publish(publisher, "2023-02", etag='"2"')
    requests = tick().run_requests
    assert [request.partition_key for request in requests] == ["2023-02-01"]


def test_sensor_loads_new_and_replaced_months(
    sensor_tick: SensorTick, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03")
    (request,) = sensor_tick().run_requests
    assert request.partition_key_range == dg.PartitionKeyRange("2023-01-01", "2023-03-01")
    load_published(publisher, instance, tmp_path)
    assert not sensor_tick().run_requests
    publish(publisher, "2023-03", etag='"2"')
    assert [r.partition_key for r in sensor_tick().run_requests] == ["2023-03-01"]


def test_sensor_does_not_poll_again_at_its_next_tick(
    sensor_tick: SensorTick, publisher: Publisher, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
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
def test_schedule_and_sensor_wait_for_a_run_in_progress(
    tick: Tick,
    sensor_tick: SensorTick,
    publisher: Publisher,
    instance: dg.DagsterInstance,
    location: str,
    job: str,
    assets: list[dg.AssetKey],
    waits: bool,
) -> None:
    publish(publisher, "2023-01")
    start(instance, location, job, *assets)
    for found in (tick("2023-01"), sensor_tick()):
        assert (not found.run_requests) == waits
        if waits:
            assert found.skip_message == "A run that loads trips is not finished yet."
    assert (publisher.requests == []) == waits


def test_replaced_file_whose_load_failed_is_loaded_again(
    tick: Tick,
    publisher: Publisher,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(publisher, "2023-01", "2023-02", "2023-03", "2023-04")
    load_published(publisher, instance, tmp_path)
    for month in (1, 2, 3, 4):
        metadata = SourceMetadata.load(
            UPath(tmp_path / "raw" / f"taxi_trips_2023-0{month}.parquet")
        )
        assert metadata
        for version in ("an older one", "another" if month == 2 else metadata.sha256):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    keys.TAXI_TRIPS,
                    partition=f"2023-0{month}-01",
                    tags={"dagster/input_data_version/taxi_trips_file": version},
                )
            )
    monkeypatch.setattr("taxi_shared.versions.RECORDS_PER_QUERY", 3)  # newest first: 4, 4, 3
    assert [request.partition_key for request in tick().run_requests] == ["2023-02-01"]


def test_sensors_are_on_unless_a_setting_says_otherwise() -> None:
    on = {True: dg.DefaultSensorStatus.RUNNING, False: dg.DefaultSensorStatus.STOPPED}
    for value, environment in (("", "local"), ("off", "local"), ("", "test"), ("on", "test")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAXI_FOLLOW_TLC", value)
            patch.setenv("TAXI_ENVIRONMENT", environment)
            sensor = publication_sensor(YELLOW)
        assert sensor.default_status == on[value == "on" or (value, environment) == ("", "local")]


def test_sensor_does_not_poll_a_failed_month_each_minute(
    sensor_tick: SensorTick, publisher: Publisher
) -> None:
    publish(publisher, "2023-01")
    first = sensor_tick()
    assert [request.partition_key for request in first.run_requests] == ["2023-01-01"]
    publisher.requests.clear()
    assert not sensor_tick(first.cursor).run_requests
    assert publisher.requests == []
