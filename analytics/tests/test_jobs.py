from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import duckdb
import pytest
from small_lake import Trip, square, write_month, write_zones

from analytics.definitions import defs
from analytics.defs.jobs import weekly_update_schedule
from analytics.lib.weeks import months_of
from taxi_shared import keys
from taxi_shared.lake import Lake, Rows
from taxi_shared.partitions import monthly
from taxi_shared.partitions import weekly as weekly_partitions
from taxi_shared.ranges import range_tags
from taxi_shared.tables import TRIPS
from taxi_shared.versions import DATA_VERSION
from taxi_testing.lakes import Month

MONDAY = datetime(2019, 3, 11, tzinfo=UTC)


@pytest.fixture
def instance_on_disk() -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule can open by its address."""
    with dg.instance_for_test() as instance:
        yield instance


def report(
    instance: dg.DagsterInstance, asset: dg.AssetKey, *partitions: str, content: str = "first"
) -> None:
    """Record materializations as runs of another location do."""
    for partition in partitions or (None,):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=partition, tags={DATA_VERSION: content})
        )


def tick(
    instance: dg.DagsterInstance, when: datetime = MONDAY
) -> list[dg.RunRequest] | dg.SkipReason:
    """What the schedule returns at that time."""
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=when)
    found: Any = weekly_update_schedule(context)
    assert isinstance(found, list | dg.SkipReason)
    return found


def tick_requests(instance: dg.DagsterInstance, when: datetime = MONDAY) -> list[dg.RunRequest]:
    """The run requests of the schedule at that time, at least one."""
    found = tick(instance, when)
    assert isinstance(found, list)
    return found


def test_schedule_requests_adjacent_weeks_as_one_run(
    instance_on_disk: dg.DagsterInstance,
) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01")
    (request,) = tick_requests(instance_on_disk)
    assert request.run_key == "2018-12-30 to 2019-02-17 2019-03-11"
    assert request.partition_key_range == dg.PartitionKeyRange("2018-12-30", "2019-02-17")


def test_single_week_is_a_run_of_its_partition(instance_on_disk: dg.DagsterInstance) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01")
    report(
        instance_on_disk,
        keys.TRIPS_BY_WEEK,
        *("2018-12-30", "2019-01-06", "2019-01-20", "2019-01-27", "2019-02-03", "2019-02-10"),
    )
    requests = tick_requests(instance_on_disk)
    assert [r.partition_key for r in requests] == ["2019-01-13", "2019-02-17"]
    assert requests[0].run_key == "2019-01-13 2019-03-11"


def test_schedule_names_the_months_that_weeks_wait_for(
    instance_on_disk: dg.DagsterInstance,
) -> None:
    found = tick(instance_on_disk)
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == (
        "2019-01 is not loaded: 5 weeks from 2018-12-30 on wait; "
        "2019-02 is not loaded: 5 weeks from 2019-01-27 on wait; "
        "2019-03 is not loaded: 2 weeks from 2019-02-24 on wait"
    )


def test_week_that_is_not_over_is_not_requested(instance_on_disk: dg.DagsterInstance) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01", "2019-02-01", "2019-03-01")
    (request,) = tick_requests(instance_on_disk, datetime(2019, 1, 14, tzinfo=UTC))
    assert request.partition_key_range == dg.PartitionKeyRange("2018-12-30", "2019-01-06")


@pytest.mark.parametrize(
    ("location", "job", "assets", "waits"),
    [
        ("analytics", "weekly_update_job", None, True),
        ("analytics", "__ASSET_JOB", {keys.TRIPS_BY_WEEK}, True),
        ("analytics", "__ASSET_JOB", {keys.MANHATTAN_STATS}, False),
        ("ingestion", "weekly_update_job", None, False),
    ],
)
def test_schedule_skips_while_a_run_of_weeks_is_unfinished(
    instance_on_disk: dg.DagsterInstance,
    location: str,
    job: str,
    assets: set[dg.AssetKey] | None,
    waits: bool,
) -> None:
    report(instance_on_disk, keys.TAXI_TRIPS, "2019-01-01")
    instance_on_disk.add_run(
        dg.DagsterRun(
            job_name=job,
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset(assets) if assets else None,
            tags={"dagster/code_location": location},
        )
    )
    assert isinstance(tick(instance_on_disk), dg.SkipReason) == waits


def test_schedule_runs_on_mondays() -> None:
    assert weekly_update_schedule.cron_schedule == "0 0 * * 1"
    assert weekly_update_schedule.job_name == "weekly_update_job"


class Platform:
    """The automation sensor with all locations; requested runs are executed at once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: Any = None

    def requested(self) -> list[str]:
        """The assets that the next evaluation requests."""
        found = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        requested = [
            key
            for key in (keys.MANHATTAN_STATS, keys.MANHATTAN_MAP)
            if found.get_num_requested(key)
        ]
        if requested:
            job = defs.resolve_job_def("manhattan_update_job")
            job.execute_in_process(instance=self.instance, asset_selection=requested)
        return [key.to_user_string() for key in requested]


@pytest.fixture
def platform(instance: dg.DagsterInstance, lake: Lake) -> Platform:
    write_zones(lake, [(4, "Alphabet City", "Manhattan", square(-73.98, 40.72))])
    return Platform(instance)


def test_map_waits_for_the_zones_and_a_first_month(platform: Platform) -> None:
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_ZONES)
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_map_does_not_start_without_zones(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == []


def test_earlier_loads_request_the_map_once(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, *(f"2019-{month:02}-01" for month in range(1, 13)))
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_existing_map_is_not_requested_at_first(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    report(instance, keys.TAXI_ZONES)
    report(instance, keys.TAXI_TRIPS, "2019-01-01")
    defs.resolve_job_def("manhattan_update_job").execute_in_process(instance=instance)
    assert platform.requested() == []


def test_range_of_months_updates_the_map_once(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_TRIPS, *(f"2019-{month:02}-01" for month in range(1, 13)))
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_new_months_and_new_zones_update_the_map(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    platform.requested()
    report(platform.instance, keys.TAXI_TRIPS, "2019-02-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_ZONES, content="second")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


def test_unchanged_reload_does_not_update_the_map(
    platform: Platform,
) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    platform.requested()
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == []
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01", content="second")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]


def test_month_loaded_right_after_a_request_updates_the_map(platform: Platform) -> None:
    report(platform.instance, keys.TAXI_ZONES)
    report(platform.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    report(platform.instance, keys.TAXI_TRIPS, "2019-02-01")
    assert platform.requested() == ["manhattan_stats", "manhattan_map"]
    assert platform.requested() == []


class Weeks:
    """The automation sensor with months and weeks; requested weeks are recorded at once."""

    def __init__(self, instance: dg.DagsterInstance, lake: Lake) -> None:
        self.instance, self.lake = instance, lake
        self.cursor: Any = None

    def load(self, month: str, *pickups: str) -> None:
        write_month(self.lake, month, [Trip(f"{day} 10:00:00") for day in pickups])
        report(self.instance, keys.TAXI_TRIPS, month)

    def requested(self) -> list[str]:
        found = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        requested = sorted(map(str, found.get_requested_partitions(keys.TRIPS_BY_WEEK)))
        if requested:
            report(self.instance, keys.TRIPS_BY_WEEK, *requested)
        return requested


@pytest.fixture
def weeks(instance: dg.DagsterInstance, lake: Lake) -> Weeks:
    return Weeks(instance, lake)


def test_week_is_requested_when_all_its_months_are_loaded(weeks: Weeks) -> None:
    assert weeks.requested() == []
    weeks.load("2019-01-01", "2019-01-05")
    # The first week begins in December, before the first month; the last touches February.
    assert weeks.requested() == ["2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20"]
    assert weeks.requested() == []
    weeks.load("2019-02-01", "2019-02-05")
    assert weeks.requested()[:2] == ["2019-01-27", "2019-02-03"]
    assert weeks.requested() == []


def test_months_loaded_together_request_each_week_once(weeks: Weeks) -> None:
    for month in range(1, 13):
        weeks.load(f"2019-{month:02}-01", f"2019-{month:02}-20")
    made = weeks.requested()
    assert (made[0], made[-1], len(made)) == ("2018-12-30", "2019-12-22", 52)
    assert weeks.requested() == []


def test_week_waits_for_a_month_without_a_partition(weeks: Weeks) -> None:
    last = monthly().get_last_partition_key()
    assert last is not None
    for month in monthly().get_partition_keys():
        weeks.load(month, month)
    made = weeks.requested()
    after = weekly_partitions().get_partition_keys()[-1]
    assert made[-1] < after  # that week is over, and some of its days are in a month that is not
    assert all(day[:7] <= last[:7] for week in made for day in months_of(week))


def test_stray_trips_of_a_new_month_update_their_week(weeks: Weeks) -> None:
    weeks.load("2019-01-01", "2019-01-05")
    weeks.requested()
    weeks.load("2019-02-01", "2019-02-20", "2019-01-09", "2002-12-31", "2088-01-24")
    assert weeks.requested() == [
        "2019-01-06",
        "2019-01-27",
        "2019-02-03",
        "2019-02-10",
        "2019-02-17",
    ]


def test_weeks_follow_a_month_that_is_rolled_back(weeks: Weeks) -> None:
    weeks.load("2019-01-01", "2019-01-05")
    weeks.requested()
    weeks.load("2019-01-01", "2019-01-15")
    assert weeks.requested() == ["2018-12-30", "2019-01-13"]
    weeks.lake.roll_back(TRIPS, "2019-01-01", 1, {})
    report(weeks.instance, keys.TAXI_TRIPS, "2019-01-01")
    assert weeks.requested() == ["2018-12-30", "2019-01-13"]


EXTREME_DAYS = (
    *("0001-01-01", "0001-01-06", "9999-12-31", "10000-01-01", "0044-03-15 (BC)"),
    *("5877642-06-25 (BC)", "5881580-07-10", "infinity", "-infinity"),
)


def write_extreme_days(lake: Lake, month: str, days: tuple[str, ...]) -> None:
    """Days of a month's file as an old lake has them, loaded before such pickups were rejected."""
    trips = Rows("SELECT CAST(UNNEST($days) AS DATE) AS pickup_date", {"days": list(days)})
    counted = (
        "SELECT pickup_date, CAST(1 AS BIGINT) AS num_trips, CAST(10 AS DECIMAL(18,2)) AS "
        "total_amount FROM read_parquet($file)"
    )
    with duckdb.connect() as con:
        Month(month, trips, counted).write(con, lake)


def test_extreme_pickup_dates_do_not_stop_automation(weeks: Weeks) -> None:
    weeks.requested()
    weeks.load("2019-01-01", "2019-01-05")
    write_extreme_days(weeks.lake, "2019-01-01", (*EXTREME_DAYS, "2019-01-05"))
    assert weeks.requested() == ["2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20"]
    write_extreme_days(weeks.lake, "2019-01-01", (*EXTREME_DAYS, "2019-01-09"))
    report(weeks.instance, keys.TAXI_TRIPS, "2019-01-01", content="second")
    assert weeks.requested() == ["2018-12-30", "2019-01-06"]  # lost a trip, and got one


def test_replaced_month_requests_its_weeks_once(weeks: Weeks) -> None:
    days = [f"2019-01-{day:02}" for day in range(1, 32)]
    weeks.load("2019-01-01", *days)
    weeks.load("2019-02-01", "2019-02-20")
    weeks.requested()
    weeks.load("2019-01-01", *days, "2019-01-31")
    again = ["2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27"]
    assert weeks.requested() == again
    assert weeks.requested() == []


def test_week_that_lost_trips_is_updated(weeks: Weeks) -> None:
    weeks.load("2019-01-01", "2019-01-05", "2019-01-09", "2019-01-20")
    weeks.load("2019-02-01", "2019-02-20", "2019-01-16")
    weeks.requested()
    weeks.load("2019-01-01", "2019-01-05", "2019-01-20")
    assert weeks.requested() == ["2018-12-30", "2019-01-06", "2019-01-20"]
    weeks.load("2019-02-01", "2019-02-20")  # without its stray
    assert weeks.requested() == ["2019-01-13", "2019-02-17"]


def test_unchanged_reload_requests_no_week(weeks: Weeks) -> None:
    weeks.load("2019-01-01", "2019-01-05")
    weeks.requested()
    report(weeks.instance, keys.TAXI_TRIPS, "2019-01-01")  # as a load that left the file alone
    assert weeks.requested() == []


def test_existing_weeks_are_not_requested_at_first(weeks: Weeks) -> None:
    weeks.load("2019-01-01", "2019-01-05")
    report(weeks.instance, keys.TRIPS_BY_WEEK, "2018-12-30", "2019-01-06")
    assert weeks.requested() == ["2019-01-13", "2019-01-20"]


def test_manual_weeks_are_updated_when_their_month_is_loaded(
    weeks: Weeks,
) -> None:
    report(weeks.instance, keys.TRIPS_BY_WEEK, "2018-12-30", "2019-01-06")
    assert weeks.requested() == []
    weeks.load("2019-01-01", "2019-01-05", "2019-01-09")
    assert weeks.requested() == ["2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20"]
    assert weeks.requested() == []


def load_range(weeks: Weeks, months: list[str], after_each: Callable[[str], None]) -> None:
    """One run that records each of its months as soon as that is in place."""

    @dg.multi_asset(
        specs=[dg.AssetSpec(keys.TAXI_TRIPS, skippable=True)],
        partitions_def=monthly(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def trips(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        for month in context.partition_keys:
            write_month(weeks.lake, month, [Trip(f"{month[:7]}-05 10:00:00")])
            context.log_event(
                dg.AssetMaterialization(
                    keys.TAXI_TRIPS, partition=month, tags={DATA_VERSION: "first"}
                )
            )
            after_each(month)
        yield from ()

    tags = range_tags(months[0], months[-1])
    assert dg.materialize([trips], instance=weeks.instance, tags=tags).success


def test_weeks_and_map_wait_for_the_last_month_of_a_run(weeks: Weeks, lake: Lake) -> None:
    write_zones(lake, [(4, "Alphabet City", "Manhattan", square(-73.98, 40.72))])
    report(weeks.instance, keys.TAXI_ZONES)
    months = [f"2019-0{month}-01" for month in range(1, 7)]
    requests: dict[str, tuple[int, bool]] = {}

    def evaluate(when: str) -> None:
        found = dg.evaluate_automation_conditions(defs, weeks.instance, cursor=weeks.cursor)
        weeks.cursor = found.cursor
        requests[when] = (
            len(found.get_requested_partitions(keys.TRIPS_BY_WEEK)),
            found.get_num_requested(keys.MANHATTAN_STATS) == 1,
        )

    evaluate("before")
    load_range(weeks, months, after_each=evaluate)
    evaluate("after")
    # 25 weeks lie in the half year, and one begins before it.
    assert [when for when, found in requests.items() if found == (26, True)] == [months[-1]]
    assert {found for when, found in requests.items() if when != months[-1]} == {(0, False)}
