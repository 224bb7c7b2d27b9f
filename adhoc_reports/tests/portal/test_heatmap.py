"""The pictures of the pages: colours follow the averages, and one day is drawn as bars."""

from adhoc_reports.lib.pickups import HOURS, Pickups, color_levels
from adhoc_reports.lib.request import Question
from adhoc_reports.portal.heatmap import Bar, bars, thumbnail, views

from .support import QUESTION

THREE_TUESDAYS = (2, 2, 3, 2, 2, 2, 2)
ONE_TUESDAY = (0, 0, 1, 0, 0, 0, 0)


def test_colours_of_averages_and_totals_differ() -> None:
    pickups = Pickups.of([(8, 0, 70), (8, 2, 90)], THREE_TUESDAYS)  # averages 35 and 30
    averages, totals = views(pickups, Question.model_validate(QUESTION))
    assert [(row.weekday, row.days) for row in averages.rows][:3] == [
        ("Sunday", 2),
        ("Monday", 2),
        ("Tuesday", 3),
    ]
    assert [row.cells[8] for row in averages.rows[:3]] == [
        ("7", "Sunday, 8 to 9 h: 35 on average"),
        ("0", "Monday, 8 to 9 h: 0 on average"),
        ("6", "Tuesday, 8 to 9 h: 30 on average"),
    ]
    assert [row.cells[8][0] for row in totals.rows[:3]] == ["6", "0", "7"]
    assert averages.legend == (("0", "0", "0"), ("6", "30", "30"), ("7", "35", "35"))
    assert totals.table[8][:3] == ("70", "0", "90")


def test_weekdays_that_were_not_counted_have_no_level() -> None:
    cells = color_levels(Pickups.of([(hour, 2, hour) for hour in HOURS], ONE_TUESDAY).averages)
    assert cells[:48] == "-" * 48
    assert cells[48:72] == "".join(str(-(-hour * 7 // 23)) for hour in HOURS)
    assert cells[72:] == "-" * 96


def test_thumbnail_of_one_day_has_bars() -> None:
    cells = color_levels(Pickups.of([(0, 2, 7), (1, 2, 3)], ONE_TUESDAY).averages)
    ((_, path),) = thumbnail(cells)
    assert path.startswith("M0 0h.9v7h-.9zM1 4h.9v3h-.9zM2 7h.9v0h-.9z")


def test_thumbnail_of_more_days_has_a_cell_per_hour() -> None:
    cells = color_levels(Pickups.of([(5, 6, 1)], (1, 0, 0, 0, 0, 0, 1)).averages)
    none, most = thumbnail(cells)
    assert most == ("7", "M5 6h1v1h-1z")
    assert none[1].count("M") == 2 * 24 - 1


def test_bars_are_parts_of_the_largest() -> None:
    pickups = Pickups.of([(3, 2, 50), (4, 2, 200)], ONE_TUESDAY)
    question = Question.model_validate(QUESTION)
    found = bars(pickups, question)
    assert [bar.height for bar in found][2:6] == [0, 25, 100, 0]
    assert [bar.is_busiest for bar in found].index(True) == 4
    assert found[3].sentence == "Tuesday, 3 to 4 h: 50"
    assert bars(Pickups.of([], THREE_TUESDAYS), question) == []


def test_bar_without_a_value_says_so_and_others_have_a_unit() -> None:
    values = tuple((None,) * 2 + (float(hour) if hour else None,) + (None,) * 4 for hour in HOURS)
    pickups = Pickups(Pickups.of([], ONE_TUESDAY).by_hour, ONE_TUESDAY, values)
    for measure, unit in (("speed", " miles per hour"), ("tip_share", "%")):
        found = bars(pickups, Question.model_validate({**QUESTION, "measure": measure}))
        assert found[0] == Bar(0, "Tuesday, 0 to 1 h: no value", is_busiest=False)
        assert found[23] == Bar(100, f"Tuesday, 23 to 24 h: 23{unit}", is_busiest=True)
