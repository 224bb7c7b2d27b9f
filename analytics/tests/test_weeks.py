from datetime import date
from decimal import Decimal

import pytest

from analytics.lib import weeks
from analytics.lib.weeks import WeekTotals

WEEKS = ("2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27", "2019-02-03")


def plan(made: tuple[str, ...] = (), loaded: tuple[str, ...] = ()) -> weeks.WeekPlan:
    return weeks.plan_weeks(WEEKS, made, loaded, first_month="2019-01-01")


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
def test_a_week_touches_the_months_of_its_sunday_and_its_saturday(
    week: str, months: tuple[str, ...]
) -> None:
    assert weeks.months_of(week) == months


def test_weeks_are_ready_when_every_month_they_touch_is_loaded() -> None:
    assert plan(loaded=("2019-01-01",)).ready == WEEKS[:4]


def test_the_first_week_does_not_wait_for_a_month_before_the_first() -> None:
    assert "2018-12-30" in plan(loaded=("2019-01-01",)).ready


def test_a_week_waits_for_the_month_that_is_not_loaded_and_says_which() -> None:
    found = plan(made=WEEKS[:4], loaded=("2019-01-01",))
    assert found.ready == ()
    assert found.waiting == {"2019-02-01": ("2019-01-27", "2019-02-03")}
    assert found.reason_to_wait == "2019-02 is not loaded: 2 weeks from 2019-01-27 on wait"


def test_a_month_left_out_in_the_middle_holds_up_its_own_weeks_only() -> None:
    assert plan(loaded=("2019-02-01",)).ready == ("2019-02-03",)


def test_weeks_missed_before_are_caught_up() -> None:
    found = plan(made=("2018-12-30", "2019-01-20"), loaded=("2019-01-01", "2019-02-01"))
    assert found.ready == ("2019-01-06", "2019-01-13", "2019-01-27", "2019-02-03")


def test_with_every_week_made_the_reason_says_so() -> None:
    assert plan(made=WEEKS).reason_to_wait == "All 6 weeks are up to date."


def test_a_week_without_trips_has_zeros_with_the_scale_of_money() -> None:
    totals = [WeekTotals(date(2019, 1, 6), 2, Decimal("30.10"), Decimal("4.00"), 3, 0, 0)]
    frame = weeks.fill_empty_weeks(totals, ["2019-01-13", "2019-01-06"])
    assert [tuple(map(str, row)) for row in frame.itertuples(index=False)] == [
        ("2019-01-06", "2", "30.10", "4.00", "3"),
        ("2019-01-13", "0", "0.00", "0.00", "0"),
    ]


def test_weeks_with_missing_amounts_are_named_with_numbers() -> None:
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
