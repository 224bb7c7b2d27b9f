"""The catalog: the asset, and the checks of a question against it."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from adhoc_reports.defs.available_data import adhoc_reports_automation_sensor, available_data
from adhoc_reports.lib.catalog import (
    Catalog,
    catalog_path,
    read_catalog,
    read_intake_status,
    write_intake_status,
)
from adhoc_reports.lib.outcome import LoadedMonth, utc_now
from adhoc_reports.lib.request import Question
from taxi_shared import keys, provenance
from taxi_shared.lake import Lake

from .conftest import JANUARY, Intake, write_trips, write_zones

TRIPS = [(4, datetime(2023, 1, 10, 8)), (4, datetime(2023, 1, 11, 8))]


def materialize(intake: Intake) -> Catalog:
    """A run of the asset; returns the catalog that it has written."""
    result = dg.materialize(
        [available_data], instance=intake.instance, resources={"database": intake.database}
    )
    (event,) = result.asset_materializations_for_node("available_data")
    catalog = read_catalog(intake.root)
    assert event.metadata["months"].value == len(catalog.months)
    assert event.metadata["zones"].value == sum(map(len, catalog.zones.values()))
    return catalog


def test_catalog_has_months_and_zones(intake: Intake, lake: Lake) -> None:
    write_zones(lake)
    write_trips(lake, "2023-01-01", TRIPS)
    catalog = materialize(intake)
    assert [(month.month, month.trips) for month in catalog.months] == [(date(2023, 1, 1), 2)]
    assert catalog.zones["Manhattan"] == ("Zone 12", "Zone 4")
    assert list(catalog.zones) == [
        "Bronx",
        "Brooklyn",
        "EWR",
        "Manhattan",
        "Queens",
        "Staten Island",
    ]
    assert (utc_now() - catalog.updated).total_seconds() < 60
    write_trips(lake, "2023-02-01", [(4, datetime(2023, 2, 10, 8))])
    assert len(materialize(intake).months) == 2


def test_catalog_of_an_empty_lake_is_empty(intake: Intake) -> None:
    catalog = materialize(intake)
    assert (catalog.months, catalog.zones) == ((), {})


@pytest.mark.parametrize("content", ["{half", "[]", '{"months": 1}'])
def test_missing_or_damaged_catalog_is_empty(intake: Intake, content: str) -> None:
    assert read_catalog(intake.root) == Catalog()
    path = Path(str(catalog_path(intake.root)))
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert read_catalog(intake.root) == Catalog()


def test_catalog_names_the_publishers_of_all_months(intake: Intake, lake: Lake) -> None:
    write_trips(lake, "2023-01-01", TRIPS, publisher=provenance.TLC)
    assert materialize(intake).publishers == (provenance.TLC,)
    write_trips(lake, "2023-02-01", TRIPS, publisher=provenance.SYNTHETIC)
    assert materialize(intake).publishers == (provenance.TLC, provenance.SYNTHETIC)


def test_time_of_the_last_look_is_recorded(intake: Intake) -> None:
    assert read_intake_status(intake.root).checked.year == 1970
    write_intake_status(intake.root)
    assert (utc_now() - read_intake_status(intake.root).checked).total_seconds() < 60
    assert list(json.loads((intake.root.outputs / "catalog" / "intake.json").read_text())) == [
        "checked"
    ]


@dg.asset(key=keys.TAXI_TRIPS, partitions_def=dg.MonthlyPartitionsDefinition("2023-01-01"))
def taxi_trips() -> dg.MaterializeResult[None]:
    """The table of trips, in place of the other location's."""
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


@dg.asset(key=keys.GREEN_TRIPS, partitions_def=dg.MonthlyPartitionsDefinition("2023-01-01"))
def green_trips() -> dg.MaterializeResult[None]:
    """The table of green trips, in place of the other location's."""
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


@dg.asset(key=keys.TAXI_ZONES)
def taxi_zones() -> dg.MaterializeResult[None]:
    """The table of zones, in place of the other location's."""
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


def test_catalog_follows_new_months_and_zones(intake: Intake) -> None:
    resources = {"database": intake.database}
    upstream = [taxi_trips, green_trips, taxi_zones]
    assets = dg.Definitions([*upstream, available_data], resources=resources)

    result = dg.evaluate_automation_conditions(assets, intake.instance)
    assert result.total_requested == 0  # no data yet
    for asset, partition in ((taxi_zones, None), (taxi_trips, "2023-01-01")):
        dg.materialize([asset], instance=intake.instance, partition_key=partition)
    result = dg.evaluate_automation_conditions(assets, intake.instance, cursor=result.cursor)
    assert result.total_requested == 1
    dg.materialize([available_data], instance=intake.instance, resources=resources)
    result = dg.evaluate_automation_conditions(assets, intake.instance, cursor=result.cursor)
    assert result.total_requested == 0
    dg.materialize([taxi_trips], instance=intake.instance, partition_key="2023-02-01")
    result = dg.evaluate_automation_conditions(assets, intake.instance, cursor=result.cursor)
    assert result.total_requested == 1
    dg.materialize([available_data], instance=intake.instance, resources=resources)
    dg.materialize([green_trips], instance=intake.instance, partition_key="2023-01-01")
    result = dg.evaluate_automation_conditions(assets, intake.instance, cursor=result.cursor)
    assert result.total_requested == 1


def test_automation_runs_by_default() -> None:
    assert adhoc_reports_automation_sensor.default_status == dg.DefaultSensorStatus.RUNNING


def catalog_of(*months: str) -> Catalog:
    loaded = datetime(2026, 1, 1, tzinfo=UTC)
    return Catalog(
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
def test_question_is_checked_against_the_catalog(
    months: list[str], changes: dict[str, str], reasons: list[str]
) -> None:
    question = Question.model_validate({**JANUARY, **changes})
    assert [str(problem) for problem in catalog_of(*months).problems(question)] == reasons


def test_gaps_are_the_missing_months_between_loaded_ones() -> None:
    assert catalog_of("2022-12-01", "2023-03-01").gaps == [date(2023, 1, 1), date(2023, 2, 1)]
    assert catalog_of("2023-03-01").gaps == catalog_of().gaps == []
    assert catalog_of("2023-11-01", "2023-12-01").last_day == date(2023, 12, 31)
