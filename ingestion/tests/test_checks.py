"""Bounds of the checks, by made-up counts; when freshness is checked, and of which tables."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ingestion.definitions import defs
from ingestion.defs.trip_checks import up_to_date
from ingestion.lib import checks
from ingestion.lib.checks import Counts
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_shared.services import GREEN, YELLOW
from taxi_shared.tables import TRIP_DAYS
from taxi_testing.lakes import Month


def months_with(**trips: int) -> dict[str, Counts]:
    """Months (`m2023_03`) with so many trips."""
    return {f"{name[1:].replace('_', '-')}-01": Counts(n, 0, 0) for name, n in trips.items()}


@pytest.mark.parametrize(("strays", "is_reported"), [(0, False), (1, False), (2, True)])
def test_strays_are_reported_above_one_in_a_thousand(strays: int, is_reported: bool) -> None:
    found = checks.too_many_strays("2023-03-01", {"2023-03-01": Counts(1000, strays, 0)})
    assert (found is not None) == is_reported


@pytest.mark.parametrize(("unknown", "is_reported"), [(50, False), (51, True)])
def test_unknown_zones_are_reported_above_one_in_twenty(unknown: int, is_reported: bool) -> None:
    found = checks.too_many_unknown_zones("2023-03-01", {"2023-03-01": Counts(1000, 0, unknown)})
    assert (found is not None) == is_reported


@pytest.mark.parametrize(
    ("trips", "is_reported"), [(62, True), (63, False), (100, False), (160, False), (161, True)]
)
def test_month_is_compared_with_neighbours_and_last_year(trips: int, is_reported: bool) -> None:
    months = months_with(m2022_03=100, m2023_02=100, m2023_03=trips, m2023_04=5000, m2022_04=1)
    assert (checks.unusual_number("2023-03-01", months) is not None) == is_reported


def test_december_and_january_are_neighbours() -> None:
    months = months_with(m2022_12=100, m2023_01=10)
    assert checks.unusual_number("2023-01-01", months) == "2023-01 has 10 trips; 2022-12 has 100"
    assert checks.unusual_number("2022-12-01", months) == "2022-12 has 100 trips; 2023-01 has 10"


def test_first_month_has_nothing_to_be_compared_with() -> None:
    assert checks.unusual_number("2023-03-01", months_with(m2023_03=1)) is None


@pytest.mark.parametrize(
    ("rows", "in_place", "others", "expected"),
    [
        # The months of the pandemic as TLC published them: real, and loaded for the first time.
        (237_993, None, {"2019-04-01": 7_433_139, "2020-03-01": 3_007_292}, None),
        (237_993, 237_990, {"2019-04-01": 7_433_139, "2020-03-01": 3_007_292}, None),
        (1, None, {}, None),
        (0, None, {}, "the file of 2020-04 has 0 rows"),
        (0, None, {"2018-01-01": 7}, "the file of 2020-04 has 0 rows"),
        (
            *(29_999, None, {"2020-03-01": 3_000_000}),
            "the file of 2020-04 has 29,999 rows, 2020-03 has 3,000,000; expected at least 30,000",
        ),
        (30_000, None, {"2020-03-01": 3_000_000}, None),
        (
            *(0, None, {"2020-03-01": 7}),
            "the file of 2020-04 has 0 rows, 2020-03 has 7; expected at least 1",
        ),
        (50, 100, {}, None),
        (
            *(49, 100, {"2020-03-01": 49}),
            "the file of 2020-04 has 49 rows, the month in the lake has 100; expected at least 50",
        ),
        (0, 0, {}, "the file of 2020-04 has 0 rows"),
        (5, 0, {"2020-05-01": 400}, None),
    ],
)
def test_month_with_far_too_few_rows_is_refused(
    rows: int, in_place: int | None, others: dict[str, int], expected: str | None
) -> None:
    assert checks.too_few_rows("2020-04-01", rows, in_place, others) == expected


@pytest.mark.parametrize(("strays", "is_refused"), [(0, False), (50, False), (51, True)])
def test_file_with_mostly_strays_is_refused(strays: int, is_refused: bool) -> None:
    assert (checks.mostly_strays("2023-03-01", strays, 100) is not None) == is_refused


@pytest.mark.parametrize(("unknown", "fails"), [(0, False), (100, False), (101, True)])
def test_totals_are_known_up_to_one_in_ten(unknown: int, fails: bool) -> None:
    found = checks.too_many_unknown_totals(
        "2023-03-01", {"2023-03-01": Counts(1000, 0, 0, unknown)}
    )
    assert (found is not None) == fails


def test_months_of_an_older_release_have_no_finding(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    trips = Rows("SELECT DATE '2023-01-31' AS pickup_date FROM range(5)")
    with database.get_connection() as con:
        Month("2023-01-01", trips).write(con, database.lake)
        Month("2023-02-01", trips).write(con, database.lake)
    with database.get_connection() as con:
        assert checks.counts_by_month(con, TRIP_DAYS) == {
            "2023-01-01": Counts(5, 0, 0, 0),
            "2023-02-01": Counts(5, 5, 0, 0),
        }
    with database.get_connection() as con:
        days = "SELECT any_value(pickup_date) AS pickup_date, count(*) AS num_trips, 4 AS "
        days += "num_unknown_totals FROM read_parquet($file)"
        Month("2023-02-01", trips, days).write(con, database.lake)
    with database.get_connection() as con:
        months = checks.counts_by_month(con, TRIP_DAYS)
    found = [checks.too_many_unknown_totals(month, months) is not None for month in sorted(months)]
    assert found == [False, True]


YEAR = [f"2023-{month:02}-01" for month in range(1, 13)]


@pytest.mark.parametrize(
    ("today", "loaded", "message"),
    [
        (date(2023, 4, 15), [], None),  # January is due 75 days after its end
        (date(2023, 4, 17), [], "2023-01 is due since 2023-04-17; not loaded: 2023-01"),
        (date(2023, 4, 17), ["2023-01-01"], None),
        (date(2023, 5, 15), ["2023-01-01"], "2023-02 is due since 2023-05-15; not loaded: 2023-02"),
        (date(2023, 5, 15), ["2023-02-01"], None),  # what is old and missing is not late
        (
            date(2023, 6, 15),
            [],
            "2023-03 is due since 2023-06-15; not loaded: 2023-01, 2023-02, 2023-03",
        ),
    ],
)
def test_newest_month_that_is_due_must_be_loaded(
    today: date, loaded: list[str], message: str | None
) -> None:
    assert checks.not_up_to_date(YEAR, loaded, today) == message


def test_up_to_date_is_executed_each_morning(instance: dg.DagsterInstance) -> None:
    up_to_date = {
        dg.AssetCheckKey(asset, "up_to_date") for asset in (keys.TAXI_TRIPS, keys.GREEN_TRIPS)
    }
    cursor = None
    evening = datetime(2023, 4, 16, 20, tzinfo=UTC)
    executed = {}
    for hours in (0, 10, 12, 24, 35, 36):  # 20:00, 6:00, 8:00, 20:00, 7:00, 8:00
        found = dg.evaluate_automation_conditions(
            defs,
            instance,
            asset_selection=dg.AssetSelection.all_asset_checks(),
            cursor=cursor,
            evaluation_time=evening + timedelta(hours=hours),
        )
        cursor = found.cursor
        executed[hours] = {r.key for r in found.results if not r.true_subset.is_empty}
    assert executed == {0: set(), 10: set(), 12: up_to_date, 24: set(), 35: up_to_date, 36: set()}


def test_up_to_date_checks_each_table_on_its_own(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "2023-01-01")
    monkeypatch.setenv("TAXI_END_DATE", "2023-02-01")
    database = LakeDatabase(data_root=str(tmp_path))
    with database.get_connection() as con:
        Month("2023-01-01", Rows("SELECT 1 AS vendor_id")).write(con, database.lake)
    checks_alone = dg.Definitions(
        asset_checks=[*map(up_to_date, (YELLOW, GREEN))],
        jobs=[dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())],
        resources={"database": database},
    )
    result = checks_alone.resolve_job_def("checks").execute_in_process(instance=instance)
    assert {e.asset_key: e.passed for e in result.get_asset_check_evaluations()} == {
        keys.TAXI_TRIPS: True,
        keys.GREEN_TRIPS: False,
    }
