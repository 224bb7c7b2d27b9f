from decimal import Decimal
from typing import Any

import dagster as dg
import duckdb
import pytest
from small_lake import Trip, totals_by_hand, write_month

from analytics.definitions import defs
from taxi_shared import keys, storage
from taxi_shared.lake import Lake, Rows
from taxi_shared.ranges import range_tags
from taxi_shared.tables import TRIP_DAYS, TRIPS

WEEKS = [
    "2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20",
    "2019-01-27", "2019-02-03", "2019-02-10", "2019-02-17",
]  # fmt: skip

JANUARY = [
    Trip("2018-12-30 00:00:00", amount="3.33"),  # the first second of the first week
    Trip("2008-08-08 08:08:08", amount="999.00"),  # a meter that lost its clock: in no week here
    Trip("2019-01-05 23:59:59", amount="12.35", passengers=None),  # a Saturday's last second
    Trip("2019-01-06 00:00:00", amount="0.10", miles="0.01", passengers=0),
    Trip("2019-01-07 10:00:00", amount="0.20", miles="0.02", passengers=6),
    Trip("2019-01-09 10:00:00", amount="-52.80", miles="0.00"),  # a refund
    Trip("2019-01-20 12:00:00", amount="7.05", passengers=None),  # a week of unknown passengers
    Trip("2019-01-28 12:00:00", amount="9.99"),
]
FEBRUARY = [
    Trip("2019-01-08 01:00:00", amount="1.11"),  # strays, in the file of the month after
    Trip("2019-01-31 23:59:00", amount="2.22"),
    Trip("2019-02-01 00:00:00", amount="4.44"),  # the same week as the one before
    Trip("2019-02-18 09:00:00", amount="98765.43", miles="0.07"),
]


@pytest.fixture
def loaded(lake: Lake) -> Lake:
    write_month(lake, "2019-01-01", JANUARY)
    write_month(lake, "2019-02-01", FEBRUARY)
    return lake


def make(
    first: str, last: str, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """A run for one week, or for the range."""
    job = defs.resolve_job_def("weekly_update_job")
    instance = instance or dg.DagsterInstance.ephemeral()
    if first == last:
        return job.execute_in_process(instance=instance, partition_key=first)
    return job.execute_in_process(instance=instance, tags=range_tags(first, last))


def read_metadata(instance: dg.DagsterInstance) -> list[tuple[str, dict[str, Any]]]:
    """The weeks of all materializations with their metadata, newest first."""
    records = instance.fetch_materializations(keys.TRIPS_BY_WEEK, limit=100).records
    return [
        (str(event.partition), {name: value.value for name, value in event.metadata.items()})
        for event in (record.asset_materialization for record in records)
        if event
    ]


def read_csv(lake: Lake) -> bytes:
    return (lake.root.outputs / "trips_by_week.csv").read_bytes()


def test_trips_count_in_the_week_of_their_pickup(loaded: Lake) -> None:
    make(WEEKS[0], WEEKS[-1])
    header, *rows = read_csv(loaded).decode().splitlines()
    assert header == "period,num_trips,total_amount,trip_distance,passenger_count"
    assert rows == [
        ",".join(map(str, (week, *totals_by_hand(JANUARY + FEBRUARY, week)))) for week in WEEKS
    ]
    assert rows[1] == "2019-01-06,4,-51.39,1.03,8"
    assert rows[2] == "2019-01-13,0,0.00,0.00,0"
    assert rows[3] == "2019-01-20,1,7.05,1.00,0"


def test_weeks_in_any_order_give_the_same_csv(
    loaded: Lake,
) -> None:
    for week in (WEEKS[n] for n in (5, 0, 7, 2, 1, 6, 4, 3)):
        make(week, week)
    one_by_one = read_csv(loaded)
    make(WEEKS[0], WEEKS[-1])
    assert read_csv(loaded) == one_by_one
    make(WEEKS[2], WEEKS[2])
    assert read_csv(loaded) == one_by_one
    (loaded.root.outputs / "trips_by_week.csv").unlink()
    for week in WEEKS:
        (loaded.root.staging / "trips_by_week" / f"{week}.csv").unlink()
    make(WEEKS[0], WEEKS[-1])
    assert read_csv(loaded) == one_by_one


def test_csv_has_a_row_per_materialized_week(loaded: Lake) -> None:
    make(WEEKS[4], WEEKS[4])
    make(WEEKS[1], WEEKS[1])
    assert [row[:10] for row in read_csv(loaded).decode().splitlines()[1:]] == [WEEKS[1], WEEKS[4]]


def test_each_week_of_a_range_has_its_own_metadata(
    loaded: Lake, instance: dg.DagsterInstance
) -> None:
    make(WEEKS[0], WEEKS[-1], instance)
    events = read_metadata(instance)
    assert [week for week, _ in events] == WEEKS[::-1]
    for week, metadata in events:
        trips, amount, *_ = totals_by_hand(JANUARY + FEBRUARY, week)
        assert metadata["num_trips"] == trips
        assert Decimal(str(metadata["total_amount"])) == amount
        assert metadata["seconds"] > 0
    assert dict(events)["2018-12-30"]["months not loaded"] == ["2018-12"]
    assert dict(events)["2019-02-10"]["months not loaded"] == []


def test_week_names_its_months_that_are_not_loaded(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    write_month(lake, "2019-01-01", JANUARY)
    make("2019-01-27", "2019-01-27", instance)
    ((_, metadata),) = read_metadata(instance)
    assert metadata["months not loaded"] == ["2019-02"]


def test_week_is_computed_as_of_a_version(lake: Lake, instance: dg.DagsterInstance) -> None:
    write_month(lake, "2019-01-01", JANUARY)
    write_month(lake, "2019-01-01", JANUARY[:1])
    config = {"ops": {"trips_by_week": {"config": {"trips_version": 1}}}}
    job = defs.resolve_job_def("weekly_update_job")
    week = "2019-01-06"
    assert job.execute_in_process(config, instance=instance, partition_key=week).success
    ((_, metadata),) = read_metadata(instance)
    assert metadata["num_trips"] == totals_by_hand(JANUARY, week)[0] > 1
    assert metadata["trips version"] == 1


def test_weeks_of_an_empty_lake_are_zero(lake: Lake) -> None:
    make("2019-01-06", "2019-01-13")
    assert read_csv(lake).decode().splitlines()[1:] == [
        "2019-01-06,0,0.00,0.00,0",
        "2019-01-13,0,0.00,0.00,0",
    ]


def evaluations(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in run.get_asset_check_evaluations()}


def test_unknown_amounts_are_empty_and_reported_by_a_check(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    unknown = [Trip(f"2019-01-0{day} 10:00:00", amount=None) for day in (6, 7, 8)]
    some = [
        Trip("2019-01-14 10:00:00", amount="7.50"),
        Trip("2019-01-15 10:00:00", amount=None, miles=None),
    ]
    write_month(lake, "2019-01-01", [*unknown, *some])
    run = make("2019-01-06", "2019-01-20", instance)
    assert read_csv(lake).decode().splitlines()[1:] == [
        "2019-01-06,3,,3.00,3",
        "2019-01-13,2,7.50,1.00,2",
        "2019-01-20,0,0.00,0.00,0",
    ]
    check = evaluations(run)["amounts_are_known"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == (
        "2019-01-06: 3 of 3 trips have no total_amount\n"
        "2019-01-13: 1 of 2 trips have no total_amount\n"
        "2019-01-13: 1 of 2 trips have no trip_distance"
    )
    assert evaluations(run)["weeks_equal_their_days"].passed
    assert dict(read_metadata(instance))["2019-01-06"]["total_amount"] is None


def test_known_amounts_pass_their_check(loaded: Lake) -> None:
    check = evaluations(make(WEEKS[0], WEEKS[-1]))["amounts_are_known"]
    assert (check.passed, check.description) == (True, None)


def test_extreme_pickups_count_in_no_week(loaded: Lake) -> None:
    make(WEEKS[0], WEEKS[-1])
    before = read_csv(loaded)
    extreme = [Trip(f"{day} 00:00:00") for day in ("0001-01-01", "10000-01-01", "9999-12-31")]
    write_month(loaded, "2019-01-01", [*JANUARY, *extreme, Trip("infinity"), Trip("-infinity")])
    make(WEEKS[0], WEEKS[-1])
    assert read_csv(loaded) == before


def test_damaged_file_of_another_table_does_not_matter(loaded: Lake) -> None:
    storage.write_bytes(loaded.root.staging / "zones" / "zones.parquet", b"PAR1 damaged")
    green = loaded.root.staging / "green_trips" / "partition_date=2019-01-01"
    storage.write_bytes(green / "green_trips.parquet", b"PAR1 damaged")
    make(WEEKS[0], WEEKS[-1])
    assert len(read_csv(loaded).splitlines()) == 1 + len(WEEKS)


def test_week_that_differs_from_its_days_fails_its_check(
    loaded: Lake, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def("weekly_update_job")

    def check() -> dg.AssetCheckEvaluation:
        run = job.execute_in_process(instance=instance, partition_key=WEEKS[1])
        return evaluations(run)["weeks_equal_their_days"]

    assert check().passed
    trips, amount, *_ = totals_by_hand(JANUARY + FEBRUARY, WEEKS[1])
    strays, their_amount, *_ = totals_by_hand(FEBRUARY, WEEKS[1])
    query = (
        "SELECT DATE '2019-01-09' AS pickup_date, CAST($trips AS BIGINT) AS num_trips, "
        "CAST($amount AS DECIMAL(18,2)) AS total_amount"
    )

    january = loaded.snapshot().files(TRIPS)["2019-01-01"]

    def check_with_days_of(trips: int, amount: Decimal) -> dg.AssetCheckEvaluation:
        counted = {"trips": trips - strays, "amount": str(amount - their_amount)}
        same = Rows("FROM read_parquet($file)", {"file": str(january.path)})
        with duckdb.connect() as con, loaded.replacement([TRIPS, TRIP_DAYS], "2019-01-01") as new:
            new.write(con, TRIPS, same)
            new.write(con, TRIP_DAYS, Rows(query, counted))
        return check()

    assert check_with_days_of(trips, amount).passed
    for other in ((trips + 4, amount), (trips, amount + Decimal("0.01"))):
        failed = check_with_days_of(*other)
        assert not failed.passed
        assert failed.description == (
            f"2019-01-06 has {trips} trips for {amount:,} dollars, its days have {other[0]} for "
            f"{other[1]:,}"
        )
