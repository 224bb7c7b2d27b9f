"""The chart: its cells and bars are the averages, and it says what it shows."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from adhoc_reports.lib import chart
from adhoc_reports.lib.chart import to_png
from adhoc_reports.lib.outcome import Coverage, Report
from adhoc_reports.lib.pickups import HOURS, WEEKDAYS, Pickups, count_weekdays
from adhoc_reports.lib.request import Question
from taxi_shared import provenance

QUESTION = Question(borough="Staten Island", start_date="2023-01-10", end_date="2023-01-25")
ONE_DAY = QUESTION.model_copy(update={"end_date": "2023-01-11"})
# 10 to 24 January 2023: three Tuesdays, two of each other weekday.
DAYS = (2, 2, 3, 2, 2, 2, 2)
TUESDAY_ONLY = (0, 0, 1, 0, 0, 0, 0)
GENERATED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)  # the chart says it
PICKUPS = Pickups(tuple(tuple(1_000 * hour + day for day in range(7)) for hour in HOURS), DAYS)


def draw(
    pickups: Pickups, question: Question, remark: str = "", publishers: Sequence[str] = ()
) -> Figure:
    """The chart of a report with these numbers."""
    report = Report(
        generated=GENERATED,
        by_hour=pickups.by_hour,
        weekdays=pickups.weekdays,
        remark=remark,
        coverage=Coverage(months=(), exclusions=()),
        publishers=tuple(publishers),
    )
    return chart.draw(question, report)


@pytest.fixture(scope="module")
def figure() -> Figure:
    """The chart of two weeks of every hour."""
    return draw(PICKUPS, QUESTION, "A remark.", [provenance.TLC])


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in (*figure.texts, *figure.axes[0].texts))


def cells(figure: Figure) -> list[list[float]]:
    """The numbers behind the colours, a list for each row from above."""
    (mesh,) = figure.axes[0].collections
    numbers = mesh.get_array()
    assert numbers is not None
    rows: list[list[float]] = numbers.reshape(-1, len(HOURS)).tolist()
    return rows


def test_cells_are_averages_per_weekday_and_hour(figure: Figure) -> None:
    for day, row in enumerate(cells(figure)):
        for hour, average in enumerate(row):
            assert average == pytest.approx((1_000 * hour + day) / (3 if day == 2 else 2))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"{name} ×{3 if name == 'Tuesday' else 2}" for name in WEEKDAYS]


def test_scale_of_colours_has_no_powers_of_ten(figure: Figure) -> None:
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert "10,000" in labels
    assert not any("e" in label for label in labels)


def test_busiest_hour_follows_the_average(figure: Figure) -> None:
    # The total of Tuesday, 23 h, is 23,002 of three days; that of Saturday 23,006 of two.
    assert "Busiest: Saturday, 23 to 24 h, 11,503 pickups on average" in texts(figure)
    three_tuesdays = Pickups.of([(8, 2, 120), (9, 0, 90)], DAYS)
    assert "Busiest: Sunday, 9 to 10 h, 45 pickups" in texts(draw(three_tuesdays, QUESTION))
    (outline,) = figure.axes[0].patches
    assert isinstance(outline, Rectangle)
    assert outline.get_xy() == (22.5, 5.5)


def test_chart_names_taxis_area_days_total_and_remark(figure: Figure) -> None:
    text = texts(figure)
    for part in (
        "Yellow taxi pickups in Staten Island",
        "10 January 2023 to 24 January 2023: average pickups per hour of each weekday",
        f"{PICKUPS.total:,} trips in 15 days",
        "A remark.",
    ):
        assert part in text
    assert "No pickups" not in text


def test_one_day_is_a_bar_per_hour() -> None:
    pickups = Pickups.of([(hour, 2, 10 * hour) for hour in HOURS], TUESDAY_ONLY)
    figure = draw(pickups, ONE_DAY)
    (axes,) = figure.axes
    (bars,) = axes.containers
    assert [bar.get_height() for bar in bars] == [10 * hour for hour in HOURS]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(list(HOURS))
    assert axes.get_ylabel() == "Pickups per hour"
    assert "Busiest: Tuesday, 23 to 24 h, 230 pickups" in texts(figure)
    assert "on average" not in texts(figure)


def test_weekdays_outside_the_period_have_no_row() -> None:
    weekend = QUESTION.model_copy(update={"start_date": "2023-01-14", "end_date": "2023-01-16"})
    pickups = Pickups.of([(1, 6, 4)], count_weekdays(weekend.dates, [date(2023, 1, 1)]))
    figure = draw(pickups, weekend)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["Sunday ×1", "Saturday ×1"]
    assert [sum(row) for row in cells(figure)] == [0, 4]


def test_chart_names_the_publishers_of_its_data(figure: Figure) -> None:
    assert f"Source: {provenance.TLC}" in texts(figure)
    assert "SYNTHETIC" not in texts(figure)
    sample = draw(PICKUPS, QUESTION, publishers=[provenance.SYNTHETIC])
    assert f"Source: {provenance.SYNTHETIC}" in texts(sample)
    assert provenance.TLC not in texts(sample)
    assert "SYNTHETIC SAMPLE DATA" in texts(sample)
    assert "Source: not recorded" in texts(draw(PICKUPS, QUESTION))


def test_shades_grow_darker_with_the_number() -> None:
    pickups = Pickups.of([(hour, 0, hour) for hour in HOURS], DAYS)
    figure = draw(pickups, QUESTION)
    (mesh,) = figure.axes[0].collections
    figure.draw_without_rendering()
    grey = [
        0.2126 * r + 0.7152 * g + 0.0722 * b
        for r, g, b, _ in to_rgba_array(mesh.get_facecolor())[:24]
    ]
    assert grey == sorted(grey, reverse=True)
    assert len(set(grey)) == 24


@pytest.mark.parametrize("days", [DAYS, TUESDAY_ONLY])
@pytest.mark.parametrize("largest", [0, 1, 999, 123_456_789])
@pytest.mark.parametrize("zone", ["", "Governor's Island/Ellis Island/Liberty Island"])
def test_no_text_leaves_the_picture(largest: int, zone: str, days: tuple[int, ...]) -> None:
    question = QUESTION.model_copy(update={"zone": zone})
    publishers = [provenance.SYNTHETIC, f"{provenance.TLC}, as copied to {'host.' * 30}org"]
    figure = draw(Pickups.of([(8, 2, largest)], days), question, "A remark.", publishers)
    figure.draw_without_rendering()
    whole = figure.bbox
    axes = figure.axes[0]
    for text in (*figure.texts, *axes.get_yticklabels(), axes.yaxis.label):
        box = text.get_window_extent()
        assert not text.get_text() or (box.x0 >= whole.x0 and box.x1 <= whole.x1)
    title, subtitle, busiest, *notes = (text.get_window_extent() for text in figure.texts)
    assert title.y0 > subtitle.y1
    assert subtitle.y0 > busiest.y1 > axes.get_window_extent().y1
    assert max(box.y1 for box in notes[:-1]) < axes.xaxis.label.get_window_extent().y0


def test_chart_without_pickups_says_so() -> None:
    figure = draw(Pickups.of([], DAYS), QUESTION)
    assert "No pickups in this period" in texts(figure)
    assert "0 trips in 15 days" in texts(figure)
    assert "Busiest" not in texts(figure)
    nothing = texts(draw(Pickups.of([], (0,) * 7), QUESTION))
    assert "no data is loaded for these days" in nothing


def test_one_trip_is_in_the_singular() -> None:
    text = texts(draw(Pickups.of([(0, 2, 1)], TUESDAY_ONLY), ONE_DAY))
    assert "10 January 2023: pickups per hour, 1 trip in 1 day" in text
    assert "0 to 1 h, 1 pickup" in text
    assert "1 pickups" not in text


def test_same_numbers_give_the_same_bytes(figure: Figure) -> None:
    png = to_png(figure)
    assert png.startswith(b"\x89PNG\r\n")
    assert len(png) < 80_000
    again = draw(PICKUPS, QUESTION, "A remark.", [provenance.TLC])
    # pytest would take minutes to show how bytes differ.
    assert {sha256(to_png(each)).hexdigest() for each in (figure, again)} == {
        sha256(png).hexdigest()
    }


def test_definitions_load_without_what_only_runs_need() -> None:
    heavy = "matplotlib pandas numpy PIL s3fs boto3 botocore"
    code = (
        "import sys, adhoc_reports.definitions\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.strip() == "[]"
