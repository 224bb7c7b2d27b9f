"""The contracts with other locations hold, in the definitions and in the lake."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from ingestion.definitions import defs
from ingestion.defs.trips import trip_assets
from taxi_shared.contracts import CONTRACTS, violations
from taxi_shared.lake import Lake
from taxi_shared.services import SERVICES
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES

from .conftest import Publisher
from .layouts import LAYOUTS
from .test_trips import MONTHS, Ingestion, picked_up_in
from .test_zones import load_zones
from .zone_files import csv_text, zone_rows


def test_definitions_keep_the_contracts() -> None:
    assert violations("ingestion", defs) == []


@pytest.fixture
def lake(publisher: Publisher, tmp_path: Path, instance: dg.DagsterInstance) -> Lake:
    """A lake with a month of each service and the zones, as the assets load them."""
    ingestion = Ingestion(publisher, tmp_path / "data", instance)
    for service in SERVICES:
        content = LAYOUTS[service.name][0](MONTHS[0][:7])
        ingestion.publish_table(service.name, MONTHS[0], picked_up_in(MONTHS[0], content))
        assert ingestion.run(MONTHS[0], MONTHS[0], assets=trip_assets(service)).success
    source = tmp_path / "zones.csv"
    source.write_text(csv_text(zone_rows()))
    assert load_zones(instance, source, tmp_path / "data").success
    return Lake(DataRoot.at(str(tmp_path / "data")))


def test_files_have_the_promised_columns_and_types(lake: Lake) -> None:
    tables = {table.name: table for table in TABLES}
    for use in CONTRACTS:
        for name, columns in use.tables.items():
            (file,) = lake.snapshot().files(tables[name]).values()
            found = types_in(str(file.path))
            assert {c: found.get(c) for c in columns} == columns, f"{use.user}, {name}"


def test_files_of_every_table_have_the_described_columns(lake: Lake) -> None:
    for table in TABLES:
        (file,) = lake.snapshot().files(table).values()
        assert types_in(str(file.path)) == {c.name: c.type for c in table.all_columns}, table.name


def types_in(file: str) -> dict[str, str]:
    with duckdb.connect() as con:
        query = "DESCRIBE SELECT * FROM read_parquet($file, hive_partitioning = true)"
        return {name: kind for name, kind, *_ in con.execute(query, {"file": file}).fetchall()}


def contracts(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "taxi_shared.contracts", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_uses_of_a_location_can_be_checked_by_another(tmp_path: Path) -> None:
    file = tmp_path / "uses.json"
    file.write_text(contracts("analytics", "--uses")[1])
    assert len(json.loads(file.read_text())) == 2
    assert contracts("ingestion", "--with", str(file)) == (0, "")


def test_deploy_reports_what_breaks_deployed_locations(tmp_path: Path) -> None:
    """The deployed version of another location may rely on more than the current one."""
    older = [
        replace(CONTRACTS[0], user="finance", tables={"trips": {"tips": "DOUBLE"}}),
        replace(CONTRACTS[0], user="finance", asset="trips", tables={}),
    ]
    file = tmp_path / "uses.json"
    file.write_text(json.dumps([asdict(use) for use in older]))
    assert contracts("ingestion", "--with", str(file)) == (
        1,
        "finance uses column trips.tips, which does not exist\n"
        "finance uses asset trips, which ingestion does not make\n",
    )
