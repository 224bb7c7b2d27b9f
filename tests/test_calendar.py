"""Months and full weeks of a range."""

from datetime import date

import click
import pytest

from taxi_platform.calendar import MonthRange


def test_full_weeks_begin_on_sunday_and_lie_within_the_months() -> None:
    weeks = MonthRange.between("2019-01", "2019-03").full_weeks
    assert (weeks[0], weeks[-1], len(weeks)) == (date(2019, 1, 6), date(2019, 3, 24), 12)


def test_a_month_that_begins_on_sunday_gives_its_first_week() -> None:
    assert MonthRange.between("2023-01", "2023-01").full_weeks[0] == date(2023, 1, 1)


def test_months_cross_the_year() -> None:
    months = MonthRange.between("2022-11", "2023-02").months
    assert [f"{m:%Y-%m}" for m in months] == ["2022-11", "2022-12", "2023-01", "2023-02"]


@pytest.mark.parametrize("text", ["", "2023", "2023-13", "January", "2023-01-05"])
def test_invalid_month_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.ClickException, match="expected as in FROM=2023-01"):
        MonthRange.between(text, "2023-01")


def test_reversed_months_are_refused() -> None:
    with pytest.raises(click.ClickException, match="is before FROM"):
        MonthRange.between("2023-03", "2023-01")


def test_months_without_a_partition_are_refused() -> None:
    with pytest.raises(click.ClickException, match="2018-12 is not one of the months 2019-01 to"):
        MonthRange.between("2018-12", "2019-01").check_within(["2019-01-01", "2019-02-01"])
