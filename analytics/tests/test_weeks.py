from datetime import date
from decimal import Decimal

import pytest

from analytics.lib import weeks
from analytics.lib.weeks import WeekTotals

WEEKS = ("2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27", "2019-02-03")


def plan(made: tuple[str, ...] = (), loaded: tuple[str, ...] = ()) -> weeks.WeekPlan:
    return weeks.plan_weeks(set(WEEKS), set(made), set(loaded), first_month="2019-01-01")


@pytest.mark.parametrize(
    ("week", "months"),
    [
        ("2019-01-06", ("2019-01-01",)),
        ("2019-01-27", ("2019-01-01", "2019-02-01")),
        ("2018-12-30", ("2018-12-01", "2019-01-01")),
        ("2018-11-25", ("2018-11-01", "2018-12-01")),  # its Saturday is the first of December
        ("2019-02-24", ("2019-02-01", "2019-03-01")),
        ("2019-09-01", ("2019-09-01",)),
    ],
)
def test_months_of_a_week_are_those_of_sunday_and_saturday(
    week: str, months: tuple[str, ...]
) -> None:
    assert weeks.months_of(week) == months


def test_weeks_are_ready_when_all_their_months_are_loaded() -> None:
    assert plan(loaded=("2019-01-01",)).ready == WEEKS[:4]


def test_first_week_does_not_wait_for_an_earlier_month() -> None:
    assert "2018-12-30" in plan(loaded=("2019-01-01",)).ready


def test_plan_names_the_month_that_weeks_wait_for() -> None:
    found = plan(made=WEEKS[:4], loaded=("2019-01-01",))
    assert found.ready == ()
    assert found.waiting == {"2019-02-01": ("2019-01-27", "2019-02-03")}
    assert found.reason_to_wait == "2019-02 is not loaded: 2 weeks from 2019-01-27 on wait"


def test_missing_month_delays_only_its_own_weeks() -> None:
    assert plan(loaded=("2019-02-01",)).ready == ("2019-02-03",)


def test_earlier_missing_weeks_are_ready_too() -> None:
    found = plan(made=("2018-12-30", "2019-01-20"), loaded=("2019-01-01", "2019-02-01"))
    assert found.ready == ("2019-01-06", "2019-01-13", "2019-01-27", "2019-02-03")


def test_plan_says_when_all_weeks_are_up_to_date() -> None:
    assert plan(made=WEEKS).reason_to_wait == "All 6 weeks are up to date."


def test_week_without_trips_has_zeros_with_two_decimals() -> None:
    totals = [WeekTotals(date(2019, 1, 6), 2, Decimal("30.10"), Decimal("4.00"), 3, 0, 0)]
    frame = weeks.fill_empty_weeks(totals, ["2019-01-13", "2019-01-06"])
    assert [tuple(map(str, row)) for row in frame.itertuples(index=False)] == [
        ("2019-01-06", "2", "30.10", "4.00", "3"),
        ("2019-01-13", "0", "0.00", "0.00", "0"),
    ]


def test_missing_amounts_are_counted_per_week() -> None:
    amount = Decimal("30.10")
    totals = [
        WeekTotals(date(2019, 1, 6), 2_000, amount, amount, 3, 0, 0),
        WeekTotals(date(2019, 1, 13), 2_000, amount, None, 3, 1_500, 2_000),
    ]
    assert weeks.find_missing_amounts(totals) == [
        "2019-01-13: 1,500 of 2,000 trips have no total_amount",
        "2019-01-13: 2,000 of 2,000 trips have no trip_distance",
    ]


def test_week_without_known_amount_equals_days_of_zero() -> None:
    totals = [WeekTotals(date(2019, 1, 6), 2, None, Decimal("1.00"), 3, 2, 0)]
    frame = weeks.fill_empty_weeks(totals, ["2019-01-06"])
    assert weeks.find_mismatches(frame, [(date(2019, 1, 8), 2, Decimal("0.00"))]) == []
    assert weeks.find_mismatches(frame, [(date(2019, 1, 8), 2, Decimal("0.10"))]) == [
        "2019-01-06 has 2 trips for 0 dollars, its days have 2 for 0.10"
    ]
