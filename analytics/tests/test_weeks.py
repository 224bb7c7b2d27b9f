from datetime import date
from decimal import Decimal

import pytest

from analytics.lib import weeks

WEEKS = ("2018-12-30", "2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27", "2019-02-03")


def outlook(made: tuple[str, ...] = (), loaded: tuple[str, ...] = ()) -> weeks.Outlook:
    return weeks.outlook(WEEKS, made, loaded, first_month="2019-01-01")


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
    assert outlook(loaded=("2019-01-01",)).ready == WEEKS[:4]


def test_the_first_week_does_not_wait_for_a_month_before_the_first() -> None:
    assert "2018-12-30" in outlook(loaded=("2019-01-01",)).ready


def test_a_week_waits_for_the_month_that_is_not_loaded_and_says_which() -> None:
    found = outlook(made=WEEKS[:4], loaded=("2019-01-01",))
    assert found.ready == ()
    assert found.waiting == {"2019-02-01": ("2019-01-27", "2019-02-03")}
    assert found.reason_to_wait == "2019-02 is not loaded, 2 weeks from 2019-01-27 on wait for it"


def test_a_month_left_out_in_the_middle_holds_up_its_own_weeks_only() -> None:
    assert outlook(loaded=("2019-02-01",)).ready == ("2019-02-03",)


def test_weeks_missed_before_are_caught_up() -> None:
    found = outlook(made=("2018-12-30", "2019-01-20"), loaded=("2019-01-01", "2019-02-01"))
    assert found.ready == ("2019-01-06", "2019-01-13", "2019-01-27", "2019-02-03")


def test_with_every_week_made_the_reason_says_so() -> None:
    assert outlook(made=WEEKS).reason_to_wait == "Every week so far is made."


def test_a_week_without_trips_has_zeros_with_the_scale_of_money() -> None:
    totals = [(date(2019, 1, 6), 2, Decimal("30.10"), Decimal("4.00"), 3)]
    frame = weeks.one_row_a_week(totals, ["2019-01-13", "2019-01-06"])
    assert [tuple(map(str, row)) for row in frame.itertuples(index=False)] == [
        ("2019-01-06", "2", "30.10", "4.00", "3"),
        ("2019-01-13", "0", "0.00", "0.00", "0"),
    ]
