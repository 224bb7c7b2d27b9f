"""Each kind of report and each measure against pandas, on TLC's real months."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from pydantic import ValidationError

from adhoc_reports.lib import canvas, chart, export
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.kinds.trend import SHORT_DAYS
from adhoc_reports.lib.measures import MEASURES
from adhoc_reports.lib.outcome import Coverage, Outcome, Report, Status, Table, utc_now
from adhoc_reports.lib.report import generate_report
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.services import SERVICES
from taxi_shared.database import LakeDatabase
from taxi_shared.engines.local import DuckDB
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import ZONES

from . import real_months

PERIOD = {"start_date": "2019-01-05", "end_date": "2019-03-20"}
CITY = ("Bronx", "Brooklyn", "Manhattan", "Queens", "Staten Island")

# Its functions have no types.
dates: Any = import_module("matplotlib.dates")

Values = Callable[[pd.DataFrame], float]


def _ratio(used: Callable[[pd.DataFrame], "pd.Series[bool]"], up: Any, down: Any) -> Values:
    def value(trips: pd.DataFrame) -> float:
        trips = trips[used(trips)]
        return float(up(trips).sum() / down(trips).sum()) if len(trips) else float("nan")

    return value


def _ones(trips: pd.DataFrame) -> "pd.Series[int]":
    return pd.Series(1, index=trips.index)


def _goes(trips: pd.DataFrame) -> "pd.Series[bool]":
    return (trips.miles.round(2) > 0) & (trips.miles.round(2) <= 200)


def _lasts(trips: pd.DataFrame) -> "pd.Series[bool]":
    return (trips.minutes > 0) & (trips.minutes < 24 * 60)


# Written from the words of the measures, not from their SQL.
VALUES: dict[str, Values] = {
    "fare": _ratio(lambda t: t.fare > 0, lambda t: t.fare, _ones),
    "tip_share": _ratio(
        lambda t: (t.payment == 1) & (t.fare > 0) & (t.tip >= 0),
        lambda t: 100 * t.tip,
        lambda t: t.fare,
    ),
    "distance": _ratio(_goes, lambda t: t.miles, _ones),
    "duration": _ratio(_lasts, lambda t: t.minutes, _ones),
    "speed": _ratio(lambda t: _goes(t) & _lasts(t), lambda t: t.miles, lambda t: t.minutes / 60),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> LakeDatabase:
    root = tmp_path_factory.mktemp("real")
    real_months.write(Lake(DataRoot.at(str(root))))
    return LakeDatabase(data_root=str(root))


@pytest.fixture(scope="module")
def yellow() -> pd.DataFrame:
    return real_months.frame("yellow")


def ask(**fields: str) -> Question:
    return Question.model_validate({"borough": "Manhattan", **PERIOD, **fields})


def answer(database: LakeDatabase, question: Question) -> Report:
    lake, engine = database.lake.snapshot(), DuckDB(database=database)
    queries = KINDS[question.kind].ask(lake, question)
    rows = [engine.ask(dg.build_asset_context(), query).rows for query in queries]
    tables = [SERVICES[question.service].days, ZONES]
    with database.get_connection(tables=tables, snapshot=lake) as con:
        return generate_report(con, lake, question, rows)


def within(trips: pd.DataFrame, question: Question) -> pd.DataFrame:
    """The trips of the area, the days and the loaded months of a question."""
    start, end = map(pd.Timestamp, question.dates)
    months = {pd.Period(month) for month in real_months.MONTHS[question.service]}
    found = trips[(trips.day >= start) & (trips.day < end)]
    found = found[found.day.dt.to_period("M").isin(months)]
    boroughs = CITY if question.borough == "New York City" else (question.borough,)
    found = found[found[f"{question.side}_borough"].isin(boroughs)]
    return found[found[f"{question.side}_name"] == question.zone] if question.zone else found


def column(question: Question, report: Report, name: str) -> list[Any]:
    table = KINDS[question.kind].table(question, report)
    return [row[table.columns.index(name)] for row in table.rows]


def same(found: float | None, expected: float) -> bool:
    return pd.isna(expected) if found is None else found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("side", ["pickup", "dropoff"])
@pytest.mark.parametrize("measure", list(MEASURES))
def test_hours_are_those_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, measure: str, side: str
) -> None:
    question = ask(measure=measure, side=side)
    report, trips = answer(database, question), within(yellow, ask(side=side))
    assert report.trips == len(trips) > 100
    days = pd.date_range(PERIOD["start_date"], PERIOD["end_date"], inclusive="left")
    for hour in range(24):
        for weekday in range(7):
            cell = trips[(trips.hour == hour) & (trips.weekday == weekday)]
            assert report.by_hour[hour][weekday] == len(cell)
            average = len(cell) / int(((days.day_of_week + 1) % 7 == weekday).sum())
            value = average if measure == "trips" else VALUES[measure](cell)
            assert same(report.pickups.averages[hour][weekday], value)


@pytest.mark.parametrize("measure", list(MEASURES))
def test_every_measure_can_be_of_green_taxis(database: LakeDatabase, measure: str) -> None:
    question = ask(
        service="green", measure=measure, kind="map", start_date="2024-01-03", end_date="2024-01-30"
    )
    trips = within(real_months.frame("green"), question)
    report = answer(database, question)
    assert report.trips == len(trips) > 100
    for zone, found in zip(
        column(question, report, "zone_id"), column(question, report, measure), strict=True
    ):
        cell = trips[trips.pickup_zone == zone]
        assert same(found, len(cell) if measure == "trips" else VALUES[measure](cell))


@pytest.mark.parametrize("service", ["fhvhv", "fhv"])
@pytest.mark.parametrize("measure", list(MEASURES))
def test_for_hire_measures_are_those_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, measure: str, service: str
) -> None:
    fields = {"kind": "map", "start_date": "2019-02-03", "end_date": "2019-02-27"}
    if SERVICES[service].lacks(MEASURES[measure].columns):
        assert service == "fhv"
        with pytest.raises(ValidationError, match="TLC publishes no"):
            ask(service=service, measure=measure, **fields)
        return
    question = ask(service=service, measure=measure, **fields)
    # How a for-hire trip was paid is not published, so each tip counts.
    trips = within(yellow[yellow.month == "2019-02"].assign(payment=1), ask(**fields))
    report = answer(database, question)
    assert report.trips == len(trips) > 100
    for zone, found in zip(
        column(question, report, "zone_id"), column(question, report, measure), strict=True
    ):
        cell = trips[trips.pickup_zone == zone]
        assert same(found, len(cell) if measure == "trips" else VALUES[measure](cell))


@pytest.mark.parametrize("measure", ["trips", "speed", "tip_share"])
@pytest.mark.parametrize(("interval", "rule"), [("", "D"), ("week", "W-SAT"), ("month", "M")])
def test_trend_is_that_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, interval: str, rule: str, measure: str
) -> None:
    question = ask(kind="trend", interval=interval, measure=measure, borough="New York City")
    report, trips = answer(database, question), within(yellow, question)
    days = pd.date_range(PERIOD["start_date"], PERIOD["end_date"], inclusive="left")
    periods = days.to_period(rule)
    name = "trips_per_day" if measure == "trips" else measure
    rows = zip(
        column(question, report, interval or "day"),
        column(question, report, "days"),
        column(question, report, "trips"),
        column(question, report, name),
        strict=True,
    )
    found = {pd.Timestamp(first).to_period(rule): rest for first, *rest in rows}
    assert list(found) == list(periods.unique())
    for period, (number, counted, value) in found.items():
        group = trips[trips.day.dt.to_period(rule) == period]
        assert (number, counted) == ((periods == period).sum(), len(group))
        assert same(value, len(group) / number if measure == "trips" else VALUES[measure](group))


def test_trend_is_cut_to_the_loaded_months(database: LakeDatabase) -> None:
    question = ask(kind="trend", interval="month", start_date="2018-12-01", end_date="2019-06-01")
    report = answer(database, question)
    assert column(question, report, "month") == ["2019-01-01", "2019-02-01", "2019-03-01"]
    assert "December 2018, April 2019" in report.remark


def test_month_that_is_not_loaded_is_a_gap_in_a_trend(yellow: pd.DataFrame, tmp_path: Path) -> None:
    real_months.write(Lake(DataRoot.at(str(tmp_path))), without=["2019-02"])
    database = LakeDatabase(data_root=str(tmp_path))
    question = ask(kind="trend", interval="month")
    report = answer(database, question)
    counted = within(yellow, question).groupby("month").size()
    trips = [counted["2019-01"], None, counted["2019-03"]]
    assert column(question, report, "month") == ["2019-01-05", "2019-02-01", "2019-03-01"]
    assert column(question, report, "trips") == trips
    assert column(question, report, "days") == [27, 0, 19]
    assert "Not loaded, so not counted: February 2019." in report.remark
    axes = chart.draw(question, report).axes[0]
    (gap,) = (each for each in axes.patches if each.get_facecolor() == to_rgba(canvas.MISSING))
    first, last = (dates.date2num(date(2019, month, 1)) for month in (2, 3))
    assert gap.get_extents().transformed(axes.transData.inverted()).intervalx == pytest.approx(
        [first, last]
    )


@pytest.mark.parametrize("measure", ["trips", "distance"])
@pytest.mark.parametrize(
    "other",
    [
        {"other_borough": "Queens", "other_zone": "JFK Airport"},
        {"other_start_date": "2019-02-01", "other_end_date": "2019-02-15"},
        {
            "other_borough": "Queens",
            "other_start_date": "2019-02-01",
            "other_end_date": "2019-03-01",
        },
    ],
)
def test_comparison_is_that_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, other: dict[str, str], measure: str
) -> None:
    question = ask(kind="compare", measure=measure, **other)
    report = answer(database, question)
    table = KINDS["compare"].page_table(question, report)
    sides, totals = [], []
    for part in question.parts:
        trips, days = within(yellow, part), (part.dates[1] - part.dates[0]).days
        by_hour = [trips[trips.hour == hour] for hour in range(24)]
        is_count = measure == "trips"
        sides.append([len(g) / days if is_count else VALUES[measure](g) for g in by_hour])
        totals.append(len(trips) / days if is_count else VALUES[measure](trips))
    assert report.totals == pytest.approx(totals)
    assert report.trips == sum(len(within(yellow, part)) for part in question.parts)
    for hour, (row, first, second) in enumerate(zip(table.rows, *sides, strict=True)):
        assert row[0] == hour
        assert same(row[1], first)
        assert same(row[2], second)
        assert same(row[3], second - first)


@pytest.mark.parametrize("side", ["pickup", "dropoff"])
def test_strongest_pairs_are_those_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, side: str
) -> None:
    question = ask(kind="flows", side=side, measure="fare")
    report, trips = answer(database, question), within(yellow, ask(side=side))
    pairs = trips.groupby(["pickup_zone", "dropoff_zone"]).size().reset_index(name="n")
    order = {"by": ["n", "pickup_zone", "dropoff_zone"], "ascending": [False, True, True]}
    strongest = pairs.sort_values(**order).head(20)
    found = zip(
        *(column(question, report, c) for c in ("from_zone_id", "to_zone_id", "trips")), strict=True
    )
    assert list(found) == list(strongest.itertuples(index=False, name=None))
    shares = column(question, report, "share_percent")
    assert shares == pytest.approx((100 * strongest.n / len(trips)).tolist())
    for origin, destination, fare in zip(
        *(column(question, report, c) for c in ("from_zone_id", "to_zone_id", "fare")), strict=True
    ):
        of_pair = trips[(trips.pickup_zone == origin) & (trips.dropoff_zone == destination)]
        assert same(fare, VALUES["fare"](of_pair))


@pytest.mark.parametrize("borough", ["Queens", "New York City", "EWR"])
def test_map_has_every_zone_of_a_borough(
    database: LakeDatabase, yellow: pd.DataFrame, borough: str
) -> None:
    question = ask(kind="map", borough=borough, side="dropoff", measure="duration")
    report, trips = answer(database, question), within(yellow, question)
    assert report.trips == len(trips) == sum(column(question, report, "trips"))
    zones = pd.read_csv(real_months.SOURCE / "misc" / "taxi_zones.csv")
    boroughs = CITY if borough == "New York City" else (borough,)
    inside = set(zones[zones.borough.isin(boroughs)].LocationID)
    assert set(column(question, report, "zone_id")) == inside == set(map(int, report.shapes))
    for zone, found in zip(
        column(question, report, "zone_id"), column(question, report, "duration"), strict=True
    ):
        assert same(found, VALUES["duration"](trips[trips.dropoff_zone == zone]))


@pytest.mark.parametrize("measure", ["tip_share", "trips"])
def test_zone_with_an_average_of_zero_is_coloured(measure: str) -> None:
    question = ask(kind="map", measure=measure)
    averages = [(20.0,), (0.0,), (None,)] if measure != "trips" else [()] * 3
    rows = [
        (zone, f"Zone {zone}", "Manhattan", trips, *average)
        for zone, trips, average in zip((1, 2, 3), (9, 5, 0), averages, strict=True)
    ]
    table = Table(columns=("zone_id",), headings=("Zone id",), rows=tuple(rows))
    report = Report(
        generated=utc_now(),
        remark="",
        coverage=Coverage(months=(), exclusions=()),
        table=table,
        shapes=dict.fromkeys("123", "M0,0 10,0 10,10Z"),
        counted=14,
    )
    figure = chart.draw(question, report)
    coloured, hatched = figure.axes[0].collections
    assert [each.get_hatch() for each in (coloured, hatched)] == [None, "////"]
    assert [len(each.get_paths()) for each in (coloured, hatched)] == [2, 1]
    words = [text.get_text() for text in figure.texts]
    assert ("Zone 2" in words, "Zone 3" in words) == (True, False)


def test_trips_without_a_usable_value_are_named(
    database: LakeDatabase, yellow: pd.DataFrame
) -> None:
    question = ask(measure="tip_share")
    report, trips = answer(database, question), within(yellow, question)
    used = (trips.payment == 1) & (trips.fare > 0) & (trips.tip >= 0)
    left_out = {each.reason: each.trips for each in report.coverage.exclusions}
    (reason,) = (each for each in left_out if "credit card" in each)
    unusable = len(trips) - used.sum()
    assert left_out[reason] == unusable > 0
    # Lines of notes are texts of their own, the highest first.
    lines = sorted(chart.draw(question, report).texts, key=lambda line: -line.get_position()[1])
    words = " ".join(line.get_text() for line in lines)
    assert f"Left out: {unusable:,} without a fare, or not paid by credit card" in words


def trend_of(days: int, highest: int) -> tuple[Question, Report]:
    """A trend of days whose values rise from zero to the highest."""
    firsts = [date(2019, 1, 5) + timedelta(days=n) for n in range(days)]
    end = firsts[-1] + timedelta(days=1)
    question = ask(kind="trend", start_date=str(firsts[0]), end_date=str(end))
    rows = [(str(day), 1, 5, highest * n / days) for n, day in enumerate(firsts)]
    return question, Report(
        generated=utc_now(),
        remark="",
        coverage=Coverage(months=(), exclusions=()),
        table=Table(columns=("day",), headings=("Day",), rows=tuple(rows)),
        counted=5 * days,
    )


@pytest.mark.parametrize("days", [40, 90, 120, 399])
def test_marks_of_a_trend_do_not_move_with_the_data(days: int) -> None:
    low, high = (
        [
            dates.num2date(place).date()
            for place in chart.draw(*trend_of(days, most)).axes[0].get_xticks()
        ]
        for most in (7, 90_000)
    )
    assert low == high
    if days > SHORT_DAYS:
        first, last = date(2019, 1, 5), date(2019, 1, 5) + timedelta(days=days - 1)
        months = pd.date_range(first, last, freq="MS").date
        assert [mark for mark in low if first <= mark <= last] == list(months)


@pytest.mark.parametrize("measure", ["trips", "fare"])
@pytest.mark.parametrize("kind", ["trend", "compare"])
def test_for_hire_days_and_hours_are_those_of_pandas(
    database: LakeDatabase, yellow: pd.DataFrame, kind: str, measure: str
) -> None:
    fields = {"kind": kind, "start_date": "2019-02-03", "end_date": "2019-02-27"}
    if kind == "compare":
        fields["other_borough"] = "Queens"
    question = ask(service="fhvhv", measure=measure, **fields)
    report = answer(database, question)
    february = yellow[yellow.month == "2019-02"]
    parts = [within(february, part) for part in ask(**fields).parts]
    assert report.trips == sum(map(len, parts)) > 100
    name = {"trend": "trips_per_day", "compare": "trips_per_hour"}[kind]
    found = column(question, report, name if measure == "trips" else measure)
    if kind == "trend":
        days = pd.date_range("2019-02-03", "2019-02-26")
        groups = [(parts[0][parts[0].day == day], 1) for day in days]
    else:
        groups = [(trips[trips.hour == hour], 24) for trips in parts for hour in range(24)]
    for value, (group, number) in zip(found, groups, strict=True):
        assert same(value, len(group) / number if measure == "trips" else VALUES[measure](group))


EXAMPLES = [
    ask(),
    ask(measure="fare"),
    ask(measure="speed", end_date="2019-01-06"),
    ask(kind="trend"),
    ask(kind="trend", end_date="2019-01-06"),
    ask(kind="trend", interval="month", borough="Bronx"),
    ask(kind="compare", other_borough="Queens"),
    ask(kind="compare", other_start_date="2019-02-01", other_end_date="2019-03-01"),
    ask(kind="flows"),
    ask(kind="flows", borough="Queens", zone="JFK Airport", side="dropoff"),
    ask(kind="map"),
    ask(kind="map", borough="New York City", measure="tip_share"),
]


@pytest.mark.parametrize("question", EXAMPLES, ids=lambda q: f"{q.kind}-{q.measure}-{q.area}")
def test_chart_says_what_it_shows(database: LakeDatabase, question: Question) -> None:
    report = answer(database, question)
    figure = chart.draw(question, report)
    figure.draw_without_rendering()
    words = "\n".join(text.get_text() for text in figure.texts)
    assert question.heading in words
    assert question.days in words
    assert KINDS[question.kind].finding(question, report) in words
    assert f"Computed {report.generated.day} {report.generated:%B %Y}" in words
    assert "Source: " in words
    axes = [*(each.get_xlabel() for each in figure.axes), words]
    assert any("of the pickup, in New York" in each for each in axes)
    assert not re.search(r"\d{4}-\d{2}", words)
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width + 1
    assert KINDS[question.kind].count_drawn(figure, report) == report.trips
    assert len(chart.to_png(figure)) < 200_000


@pytest.mark.parametrize("question", EXAMPLES, ids=lambda q: f"{q.kind}-{q.measure}-{q.area}")
def test_outcome_keeps_a_report_of_every_kind(database: LakeDatabase, question: Question) -> None:
    report = answer(database, question)
    outcome = Outcome(
        status=Status.DONE, filename="a.json", content_hash="", request=question, report=report
    )
    text = outcome.model_dump_json()
    assert Outcome.model_validate_json(text) == outcome
    assert len(text) < 200_000
    header, *rows = export.to_tidy_csv(question, report).splitlines()
    assert len(rows) == len(KINDS[question.kind].table(question, report).rows)
    assert "trips" in header.split(",")


@pytest.mark.parametrize("question", EXAMPLES, ids=lambda q: f"{q.kind}-{q.measure}-{q.area}")
def test_report_without_data_of_every_kind_is_drawn(
    database: LakeDatabase, question: Question
) -> None:
    nowhere = question.model_copy(update={"start_date": "2031-01-01", "end_date": "2031-02-01"})
    if question.other_start_date:
        later = {"other_start_date": "2032-01-01", "other_end_date": "2032-02-01"}
        nowhere = nowhere.model_copy(update=later)
    report = answer(database, nowhere)
    assert report.trips == 0
    figure = chart.draw(nowhere, report)
    words = "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "No data for this period" in words or "in this period" in words
    assert chart.to_png(figure)
    assert KINDS[question.kind].finding(nowhere, report) == ""
    assert date(2031, 1, 1) == nowhere.dates[0]
