"""What is defined for each of TLC's services follows from one list and TAXI_SERVICES."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ingestion.defs.trip_checks import count_checks
from ingestion.lib import services
from taxi_shared.services import SERVICES, Service
from taxi_shared.tables import TABLES

from .layouts import LAYOUTS

NAMES = """
import json
from ingestion.definitions import defs

graph = defs.resolve_asset_graph()
print(json.dumps({
    "assets": sorted(key.to_user_string() for key in graph.materializable_asset_keys),
    "checks": sorted({key.asset_key.to_user_string() for key in graph.asset_check_keys}),
    **{kind: sorted(each.name for each in getattr(defs, kind))
       for kind in ("jobs", "schedules", "sensors")},
}))
"""


def defined(chosen: str) -> Mapping[str, list[str]]:
    """Names of what the location defines with a value of TAXI_SERVICES."""
    done = subprocess.run(
        [sys.executable, "-c", NAMES],
        check=True,
        env={**os.environ, "TAXI_SERVICES": chosen},
        capture_output=True,
        text=True,
    )
    found: Mapping[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("chosen", ["", "fhvhv", "yellow,green,fhv,fhvhv"])
def test_chosen_services_have_all_definitions(chosen: str) -> None:
    names = chosen.split(",") if chosen else ["yellow", "green"]
    loaded = [service for service in SERVICES if service.name in names]
    trips = [key for service in loaded for key in (service.asset, f"{service.asset}_file")]
    assert defined(chosen) == {
        "assets": sorted([*trips, "taxi_zones", "taxi_zones_file"]),
        "checks": sorted([*trips, "taxi_zones"]),
        "jobs": sorted([*(s.job_name for s in loaded), "lake_vacuum_job"]),
        "schedules": sorted(
            [*(f"{s.job_prefix}_update_schedule" for s in loaded), "lake_vacuum_schedule"]
        ),
        "sensors": sorted(
            [*(f"{s.job_prefix}_publication_sensor" for s in loaded), "ingestion_automation_sensor"]
        ),
    }


def test_every_service_has_its_table_and_layouts() -> None:
    assert list(LAYOUTS) == [service.name for service in SERVICES]
    trips = [table for table in TABLES if table.days]
    assert trips == [service.table for service in SERVICES]
    assert all(table.days in TABLES for table in trips)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_months_begin_with_the_first_file(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "2009-01-01")
    months = services.months_until(service, datetime(2023, 5, 5, tzinfo=UTC))
    assert (months[0], months[-1]) == (f"{service.first_month}-01", "2023-04-01")


def test_trips_without_amounts_or_zones_have_fewer_checks() -> None:
    found = {service.name: {check.name for check in count_checks(service)} for service in SERVICES}
    counts = {"few_strays", "few_unknown_zones", "usual_number_of_trips", "totals_known"}
    assert found == {
        **dict.fromkeys(("yellow", "green", "fhvhv"), counts),
        "fhv": counts - {"few_unknown_zones", "totals_known"},
    }
