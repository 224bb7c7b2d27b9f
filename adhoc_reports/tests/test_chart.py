"""The chart: its bars are the numbers, and it says what it shows."""

import os
import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from adhoc_reports.lib.chart import draw, to_png
from adhoc_reports.lib.pickups import HOURS, WEEKDAYS, Pickups
from adhoc_reports.lib.request import Request

REQUEST = Request(
    filename="x.json", borough="Staten Island", start_date="2023-01-10", end_date="2023-01-25"
)
PICKUPS = Pickups(tuple(tuple(1_000 * hour + day for day in range(7)) for hour in HOURS))


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw(PICKUPS, REQUEST, note="A remark.")


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in (*figure.texts, *figure.axes[0].texts))


def test_there_is_a_bar_for_every_hour_and_day_of_the_week_stacked_from_sunday(figure):
    series = figure.axes[0].containers
    assert [each.get_label() for each in series] == list(WEEKDAYS)
    for day, bars in enumerate(series):
        assert len(bars) == 24
        for hour, bar in enumerate(bars):
            assert bar.get_height() == PICKUPS.by_hour[hour][day]
            assert bar.get_y() == sum(PICKUPS.by_hour[hour][:day])
            assert bar.get_x() + bar.get_width() / 2 == pytest.approx(hour)


def test_it_says_borough_dates_total_and_remark(figure):
    said = texts(figure)
    for part in ("Staten Island", "10 January 2023 to 24 January 2023", f"{PICKUPS.total:,} trips"):
        assert part in said
    assert "15 days" in said
    assert "A remark." in said
    assert "No trips" not in said


def test_axes_are_labelled_and_large_numbers_have_separators(figure):
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Hour of day", "Number of trips")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(hour) for hour in HOURS]
    assert "100,000" in [tick.get_text() for tick in axes.get_yticklabels()]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(WEEKDAYS)


@pytest.mark.parametrize("largest", [0, 1, 999, 123_456_789])
def test_no_text_leaves_the_picture_or_covers_another(largest):
    figure = draw(Pickups.of([(8, 1, largest)]), REQUEST)
    figure.draw_without_rendering()
    whole = figure.bbox
    axes = figure.axes[0]
    label = axes.yaxis.label.get_window_extent()
    assert label.x0 >= whole.x0
    for tick in axes.get_yticklabels():
        box = tick.get_window_extent()
        assert not tick.get_text() or box.x0 >= label.x1
    for text in figure.texts:
        assert text.get_window_extent().x1 <= whole.x1


def test_no_trips_is_said_in_words():
    figure = draw(Pickups.of([]), REQUEST)
    assert "No trips from Staten Island in these days" in texts(figure)
    assert "0 trips in 15 days" in texts(figure)


def test_one_is_not_called_many():
    day = REQUEST.model_copy(update={"end_date": "2023-01-11"})
    assert "10 January 2023: 1 trip in 1 day, " in texts(draw(Pickups.of([(0, 0, 1)]), day))


def test_the_same_numbers_give_the_same_bytes(figure):
    png = to_png(figure)
    assert png.startswith(b"\x89PNG\r\n")
    assert to_png(draw(PICKUPS, REQUEST, note="A remark.")) == png
    assert to_png(figure) == png
    assert len(png) < 60_000


def test_the_definitions_load_without_what_only_a_run_needs():
    heavy = "matplotlib pandas numpy PIL s3fs boto3 botocore"
    code = (
        "import sys, adhoc_reports.definitions\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.strip() == "[]"
