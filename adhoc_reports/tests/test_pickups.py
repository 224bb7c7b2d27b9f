"""The query against a count in plain Python, and the numbers as text."""

import csv
import random
from collections import Counter
from datetime import date, datetime, timedelta

import dagster as dg
import pytest

from adhoc_reports.lib.measures import number_format
from adhoc_reports.lib.pickups import (
    WEEKDAYS,
    Pickups,
    by_hour_and_weekday,
    count_weekdays,
    loaded_months,
    missing_months,
)
from adhoc_reports.lib.report import check_zone, remark
from adhoc_reports.lib.request import InvalidRequest, Question
from taxi_shared.database import LakeDatabase
from taxi_shared.engines.local import DuckDB
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import BOROUGHS

from .conftest import BOROUGH_OF_ZONE, Intake, write_trips, write_zones

NO_DAYS = (0,) * 7
ONE_WEEK = (1,) * 7
JANUARY = date(2023, 1, 1)
FEBRUARY = date(2023, 2, 1)


def ask(borough: str = "Manhattan", start: str = "2023-01-10", end: str = "2023-01-25") -> Question:
    return Question(borough=borough, start_date=start, end_date=end)


def count_pickups(database: LakeDatabase, question: Question) -> Pickups:
    asked = by_hour_and_weekday(database.lake.snapshot(), question)
    answer = DuckDB(database=database).ask(dg.build_asset_context(), asked)
    months = loaded_months(database.lake.snapshot())
    return Pickups.of(answer.rows, count_weekdays(question.dates, months))


def remark_of(database: LakeDatabase, question: Question) -> str:
    with database.get_connection() as con:
        return remark(con, database.lake.snapshot(), question)


def random_trips(month: date, number: int) -> list[tuple[int | None, datetime | None]]:
    """Trips of a month's file, with pickups of other months, without zone, and without a time."""
    draw = random.Random(str(month))
    begin = datetime(month.year, month.month, 1)
    trips = [
        (
            draw.choice([*BOROUGH_OF_ZONE, None]),
            begin + timedelta(seconds=draw.randrange(-3 * 86_400, 34 * 86_400)),
        )
        for _ in range(number)
    ]
    midnight = [(4, datetime(month.year, month.month, day)) for day in (10, 24, 25)]
    return [*trips, *midnight, (4, datetime(2009, 1, 1)), (4, None)]


JANUARY_TRIPS = random_trips(JANUARY, 3_000)
FEBRUARY_TRIPS = random_trips(FEBRUARY, 2_000)


@pytest.fixture(scope="module")
def two_months(tmp_path_factory: pytest.TempPathFactory) -> LakeDatabase:
    """A lake of January and February 2023."""
    root = DataRoot.at(str(tmp_path_factory.mktemp("lake")))
    write_zones(Lake(root))
    write_trips(Lake(root), "2023-01-01", JANUARY_TRIPS)
    write_trips(Lake(root), "2023-02-01", FEBRUARY_TRIPS)
    return LakeDatabase(data_root=str(root.base))


def counted_by_hand(question: Question) -> Pickups:
    start, end = question.dates
    loaded = [JANUARY + timedelta(days=number) for number in range(31 + 28)]
    days = [day for day in loaded if start <= day < end]
    found = Counter(
        (time.hour, time.isoweekday() % 7)
        for zone, time in JANUARY_TRIPS + FEBRUARY_TRIPS
        if time is not None
        and time.date() in days
        and zone is not None
        and BOROUGH_OF_ZONE[zone] == question.borough
    )
    weekdays = Counter(day.isoweekday() % 7 for day in days)
    return Pickups.of(
        ((hour, day, number) for (hour, day), number in found.items()),
        tuple(weekdays[day] for day in range(7)),
    )


@pytest.mark.parametrize("borough", BOROUGHS)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2023-01-10", "2023-01-25"),
        ("2023-01-10", "2023-01-11"),
        ("2023-01-20", "2023-02-10"),
        ("2022-12-30", "2023-01-01"),
        ("0001-01-01", "9999-12-31"),
    ],
)
def test_query_counts_what_a_loop_over_trips_counts(
    two_months: LakeDatabase, borough: str, start: str, end: str
) -> None:
    question = ask(borough, start, end)
    assert count_pickups(two_months, question) == counted_by_hand(question)


def test_dates_outside_the_data_have_no_trips(two_months: LakeDatabase) -> None:
    question = ask(start="2031-01-01", end="2031-02-01")
    assert count_pickups(two_months, question) == Pickups.of([], NO_DAYS)
    assert remark_of(two_months, question) == "Not loaded, so not counted: January 2031."


def test_zone_listed_twice_counts_a_trip_once(intake: Intake, lake: Lake) -> None:
    write_zones(lake, twice=[4, 4])
    write_trips(lake, "2023-01-01", JANUARY_TRIPS)
    write_trips(lake, "2023-02-01", FEBRUARY_TRIPS)
    question = ask()
    assert count_pickups(intake.database, question) == counted_by_hand(question)


def test_lake_without_trips_gives_zeros_and_a_remark(intake: Intake, lake: Lake) -> None:
    assert count_pickups(intake.database, ask()) == Pickups.of([], NO_DAYS)
    assert "zones are not loaded" in remark_of(intake.database, ask())
    write_zones(lake)
    assert count_pickups(intake.database, ask()) == Pickups.of([], NO_DAYS)
    assert remark_of(intake.database, ask()) == "Not loaded, so not counted: January 2023."


def test_loaded_period_needs_no_remark(two_months: LakeDatabase) -> None:
    assert remark_of(two_months, ask(start="2023-01-01", end="2023-03-01")) == ""


def test_long_remark_names_three_months(two_months: LakeDatabase) -> None:
    assert remark_of(two_months, ask(start="2022-11-05", end="2023-12-31")) == (
        "Not loaded, so not counted: November 2022, December 2022, March 2023 and 9 more months."
    )


@pytest.mark.parametrize(
    ("start", "end", "missing"),
    [
        ("2023-01-31", "2023-02-01", []),
        ("2023-01-31", "2023-02-02", ["2023-02-01"]),
        ("2022-12-31", "2023-02-01", ["2022-12-01"]),
        ("2023-03-05", "2023-03-06", ["2023-03-01"]),
    ],
)
def test_month_of_the_excluded_day_is_not_missing(start: str, end: str, missing: list[str]) -> None:
    found = missing_months(ask(start=start, end=end).dates, [date(2023, 1, 1)])
    assert [month.isoformat() for month in found] == missing


def test_csv_has_every_hour_and_weekday_from_sunday() -> None:
    pickups = Pickups.of([(0, 0, 5), (23, 6, 1_234_567)], ONE_WEEK)
    header, *rows = list(csv.reader(pickups.to_csv().splitlines()))
    assert header == ["hour_of_day", *WEEKDAYS]
    assert [row[0] for row in rows] == [str(hour) for hour in range(24)]
    assert rows[0][1:] == ["5", "0", "0", "0", "0", "0", "0"]
    assert rows[23][1:] == ["0", "0", "0", "0", "0", "0", "1234567"]
    assert pickups.total == 1_234_572


def test_table_for_people_has_a_row_per_hour() -> None:
    lines = Pickups.of([(23, 6, 1_234_567)], ONE_WEEK).to_markdown().splitlines()
    assert len(lines) == 26
    assert lines[-1] == "| 23 | 0 | 0 | 0 | 0 | 0 | 0 | 1,234,567 |"


def test_averages_divide_by_the_days_of_the_weekday() -> None:
    pickups = Pickups.of([(8, 2, 90), (8, 0, 70)], (2, 2, 3, 2, 2, 2, 0))
    assert pickups.averages[8] == (35, 0, 30, 0, 0, 0, None)
    assert pickups.busiest == (0, 8, 35)
    assert pickups.counted == (0, 1, 2, 3, 4, 5)
    assert Pickups.of([], NO_DAYS).busiest is None


@pytest.mark.parametrize(
    ("start", "end", "months", "expected"),
    [
        # 10 January 2023 is a Tuesday.
        ("2023-01-10", "2023-01-25", [JANUARY], (2, 2, 3, 2, 2, 2, 2)),
        ("2023-01-10", "2023-01-11", [JANUARY], (0, 0, 1, 0, 0, 0, 0)),
        ("2023-01-01", "2023-02-01", [JANUARY], (5, 5, 5, 4, 4, 4, 4)),
        ("2023-01-25", "2023-02-08", [FEBRUARY], (1, 1, 1, 1, 1, 1, 1)),
        ("2023-01-25", "2023-02-08", [JANUARY, FEBRUARY, JANUARY], (2,) * 7),
        ("2023-01-10", "2023-01-25", [FEBRUARY], NO_DAYS),
        ("0001-01-01", "9999-12-31", [JANUARY, date(9999, 12, 1)], (9, 9, 9, 9, 9, 8, 8)),
    ],
)
def test_weekdays_are_counted_in_loaded_months_alone(
    start: str, end: str, months: list[date], expected: tuple[int, ...]
) -> None:
    dates = date.fromisoformat(start), date.fromisoformat(end)
    days = [
        month.replace(day=number)
        for month in set(months)
        for number in range(1, 29 if month.month == 2 else 32)
    ]
    by_hand = Counter(day.isoweekday() % 7 for day in days if dates[0] <= day < dates[1])
    assert count_weekdays(dates, months) == tuple(by_hand[day] for day in range(7)) == expected


def test_trips_of_a_missing_month_are_not_counted(intake: Intake, lake: Lake) -> None:
    write_zones(lake)
    stray, own = datetime(2023, 1, 31, 23, 59), datetime(2023, 2, 7, 23)  # both a Tuesday
    write_trips(lake, "2023-02-01", [(4, stray), (4, own), (4, own)])
    question = ask(start="2023-01-25", end="2023-02-08")
    pickups = count_pickups(intake.database, question)
    assert remark_of(intake.database, question) == "Not loaded, so not counted: January 2023."
    assert pickups == Pickups.of([(23, 2, 2)], ONE_WEEK)
    assert pickups.averages[23][2] == 2


def test_zone_of_another_borough_is_named(intake: Intake, lake: Lake) -> None:
    zone = Question(borough="Queens", start_date="2023-01-10", end_date="2023-01-11", zone="Zone 7")
    with intake.database.get_connection() as con:
        check_zone(con, zone)  # no zones are loaded, so none is unknown
    write_zones(lake)
    with intake.database.get_connection() as con:
        check_zone(con, zone)
        with pytest.raises(InvalidRequest, match="zone is 'Zone 7', which Bronx does not have"):
            check_zone(con, zone.model_copy(update={"borough": "Bronx"}))


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([5, 3.0, None], ["5", "3"]),
        ([0.25, 9.5], ["0.25", "9.50"]),
        ([12.34, 0.5], ["12.3", "0.5"]),
        ([123.4, 0.6], ["123", "1"]),
        ([0.0041, 0.0002], ["0.00410", "0.00020"]),
        ([1234.5, 0.4], ["1,234", "0"]),
        ([], []),
    ],
)
def test_numbers_shown_together_have_the_same_decimals(
    numbers: list[float | None], shown: list[str]
) -> None:
    known = [number for number in numbers if number is not None]
    assert [format(number, number_format(numbers)) for number in known] == shown
