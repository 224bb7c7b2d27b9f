from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from small_lake import square, write_zones

from analytics.definitions import defs
from analytics.defs import manhattan
from analytics.defs.jobs import weekly_update_schedule
from analytics.defs.resources import resources
from taxi_shared import keys
from taxi_shared.lake import Lake
from taxi_shared.partitions import monthly

MONDAY = datetime(2019, 3, 11, tzinfo=UTC)


@pytest.fixture
def instance_on_disk() -> Iterator[dg.DagsterInstance]:
    """A schedule opens its instance by the address."""
    with dg.instance_for_test() as instance:
        yield instance


def report(instance: dg.DagsterInstance, asset: dg.AssetKey, *partitions: str) -> None:
    """Materializations as another location's runs leave them."""
    for partition in partitions or (None,):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def tick(
    instance: dg.DagsterInstance, when: datetime = MONDAY
) -> list[dg.RunRequest] | dg.SkipReason:
    """What the schedule answers at that time."""
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=when)
    found = weekly_update_schedule(context)
    assert isinstance(found, list | dg.SkipReason)
    return found


def test_the_first_tick_makes_all_ready_weeks_in_one_run(
    instance_on_disk: dg.DagsterInstance,
) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01")
    (request,) = tick(instance_on_disk)
    assert request.run_key == "2018-12-30 to 2019-02-17 2019-03-11"
    assert request.partition_key_range == dg.PartitionKeyRange("2018-12-30", "2019-02-17")


def test_a_single_week_is_a_run_of_its_partition(instance_on_disk: dg.DagsterInstance) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01")
    report(
        instance_on_disk,
        keys.TRIPS_BY_WEEK,
        *("2018-12-30", "2019-01-06", "2019-01-20", "2019-01-27", "2019-02-03", "2019-02-10"),
    )
    requests = tick(instance_on_disk)
    assert [r.partition_key for r in requests] == ["2019-01-13", "2019-02-17"]
    assert requests[0].run_key == "2019-01-13 2019-03-11"


def test_a_tick_before_the_month_is_loaded_says_which_month_is_waited_for(
    instance_on_disk: dg.DagsterInstance,
) -> None:
    found = tick(instance_on_disk)
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == (
        "2019-01 is not loaded, 5 weeks from 2018-12-30 on wait for it; "
        "2019-02 is not loaded, 5 weeks from 2019-01-27 on wait for it; "
        "2019-03 is not loaded, 2 weeks from 2019-02-24 on wait for it"
    )


def test_a_week_that_is_not_over_is_not_asked_for(instance_on_disk: dg.DagsterInstance) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01", "2019-03-01")
    (request,) = tick(instance_on_disk, datetime(2019, 1, 14, tzinfo=UTC))
    assert request.tags["dagster/asset_partition_range_end"] == "2019-01-06"


def test_the_schedule_runs_on_mondays() -> None:
    assert weekly_update_schedule.cron_schedule == "0 0 * * 1"
    assert weekly_update_schedule.job_name == "weekly_update_job"


class Platform:
    """The sensor's view of all locations; what it asks for is run at once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        trips = dg.AssetSpec(keys.TAXI_TRIPS, partitions_def=monthly())
        self.instance = instance
        self.defs = dg.Definitions(
            [trips, manhattan.taxi_zones, manhattan.manhattan_stats, manhattan.manhattan_map],
            resources=resources(),
        )
        self.cursor: Any = None

    def requested(self) -> list[str]:
        """What the sensor's next evaluation asks for."""
        found = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        asked = [
            key
            for key in (keys.MANHATTAN_STATS, keys.MANHATTAN_MAP)
            if found.get_num_requested(key)
        ]
        if asked:
            job = defs.resolve_job_def("trip_update_job")
            job.execute_in_process(instance=self.instance, asset_selection=asked)
        return [key.to_user_string() for key in asked]


@pytest.fixture
def platform(instance: dg.DagsterInstance, lake: Lake) -> Platform:
    write_zones(lake, [(4, "Alphabet City", "Manhattan", square(-73.98, 40.72))])
    return Platform(instance)


def test_the_map_waits_for_the_zones_and_a_first_month(platform: Platform) -> None:
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_ZONES)
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_a_month_before_the_zones_is_not_enough(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == []


def test_what_was_loaded_before_the_first_look_makes_the_map_once(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, *(f"2019-{month:02}-01" for month in range(1, 13)))
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_a_map_that_is_there_at_the_first_look_is_not_made_again(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    report(instance, keys.TAXI_ZONES)
    report(instance, keys.TAXI_TRIPS, "2019-01-01")
    defs.resolve_job_def("trip_update_job").execute_in_process(instance=instance)
    assert platform.requested() == []


def test_the_months_of_a_range_make_the_map_once(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_TRIPS, *(f"2019-{month:02}-01" for month in range(1, 13)))
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_a_new_month_and_new_zones_make_the_map_again(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    platform.requested()
    report(platform.instance, keys.TAXI_TRIPS, "2019-02-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_ZONES)
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_a_month_that_comes_right_after_a_request_is_not_forgotten(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    report(platform.instance, keys.TAXI_TRIPS, "2019-02-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []
