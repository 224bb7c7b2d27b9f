"""What there is to ask for: told when the lake changes, and held against a question."""

import json
from datetime import date, datetime

import dagster as dg
import pytest

from adhoc_reports.defs.intake import available_data_sensor
from adhoc_reports.lib import available, outputs
from adhoc_reports.lib.available import Available, LoadedMonth
from adhoc_reports.lib.request import Question
from taxi_shared import provenance

from .conftest import JANUARY, write_trips, write_zones


def look(office) -> str:
    context = dg.build_sensor_context(
        instance=office.instance, resources={"database": office.database}
    )
    result = available_data_sensor(context)
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def test_months_and_zones_are_told_when_they_change_and_not_otherwise(office, lake):
    assert available.told(office.root) == Available()
    assert "told last" in look(office)  # an empty lake is what is told by no file
    write_zones(lake)
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 8)), (4, datetime(2023, 1, 11, 8))])
    assert look(office) == "Published 1 months and the zones of 6 boroughs."
    told = available.told(office.root)
    assert [(month.month, month.trips) for month in told.months] == [(date(2023, 1, 1), 2)]
    assert told.zones["Manhattan"] == ("Zone 12", "Zone 4")
    assert list(told.zones) == ["Bronx", "Brooklyn", "EWR", "Manhattan", "Queens", "Staten Island"]
    written = outputs.available_path(office.root).stat().st_mtime_ns
    assert "told last" in look(office)
    assert outputs.available_path(office.root).stat().st_mtime_ns == written
    write_trips(lake, "2023-02-01", [(4, datetime(2023, 2, 10, 8))])
    assert "2 months" in look(office)


def test_a_file_that_is_damaged_is_told_anew(office, lake):
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 8))])
    look(office)
    outputs.available_path(office.root).write_text("{half")
    assert available.told(office.root) == Available()
    assert "1 months" in look(office)


def of_months(*months: str) -> Available:
    loaded = datetime(2026, 1, 1)
    return Available(
        months=tuple(
            LoadedMonth(month=date.fromisoformat(month), loaded=loaded, trips=1) for month in months
        ),
        zones={"Manhattan": ("Midtown",), "Queens": ("JFK Airport",)},
    )


@pytest.mark.parametrize(
    ("months", "changes", "reasons"),
    [
        (["2023-01-01"], {}, []),
        (["2023-01-01"], {"start_date": "2023-01-01", "end_date": "2023-02-01"}, []),
        (["2023-01-01"], {"zone": "Midtown"}, []),
        (["2023-01-01"], {"borough": "New York City"}, []),
        ([], {}, ["No data is loaded yet. Try again later."]),
        (
            ["2023-02-01"],
            {},
            [
                "Data covers 1 February to 28 February 2023. Choose a first day in that range.",
                "Data covers 1 February to 28 February 2023. Choose a last day in that range.",
            ],
        ),
        (
            ["2022-12-01", "2023-01-01"],
            {"end_date": "2023-02-02"},
            ["Data covers 1 December 2022 to 31 January 2023. Choose a last day in that range."],
        ),
        (["2022-12-01", "2023-02-01"], {}, ["Not loaded: January 2023. Choose other days."]),
        (
            ["2023-01-01"],
            {"zone": "JFK Airport"},
            ["Manhattan has no zone 'JFK Airport'. Choose one of Midtown."],
        ),
        (
            ["2023-01-01"],
            {"borough": "Bronx"},
            ["No zones of Bronx are loaded. Choose one of Manhattan, Queens."],
        ),
    ],
)
def test_a_question_is_held_against_what_there_is(months, changes, reasons):
    question = Question.model_validate({**JANUARY, **changes})
    assert [str(problem) for problem in of_months(*months).problems(question)] == reasons


def test_gaps_are_the_months_between_the_first_and_the_last_that_are_not_there():
    assert of_months("2022-12-01", "2023-03-01").gaps == [date(2023, 1, 1), date(2023, 2, 1)]
    assert of_months("2023-03-01").gaps == of_months().gaps == []
    assert of_months("2023-11-01", "2023-12-01").last_day == date(2023, 12, 31)


def test_catalog_names_the_publishers_of_all_months(office, lake):
    write_zones(lake)
    trips = [(4, datetime(2023, 1, 10, 8))]
    write_trips(lake, "2023-01-01", trips, publisher=provenance.TLC)
    look(office)
    assert available.told(office.root).publishers == (provenance.TLC,)
    write_trips(lake, "2023-02-01", trips, publisher=provenance.SYNTHETIC)
    look(office)
    assert available.told(office.root).publishers == (provenance.TLC, provenance.SYNTHETIC)


def test_catalog_without_publishers_is_still_read(office, lake):
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 8))])
    look(office)
    path = outputs.available_path(office.root)
    older = json.loads(path.read_text())
    del older["publishers"]
    path.write_text(json.dumps(older))
    assert available.told(office.root).publishers == ()
    assert len(available.told(office.root).months) == 1
