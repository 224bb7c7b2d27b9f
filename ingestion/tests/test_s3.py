"""Months and zones on S3, as on a folder."""

from pathlib import Path

import dagster as dg
import pytest

from ingestion.lib.conform import ReadPlan
from ingestion.lib.download import SourceMetadata
from taxi_shared import storage

from .conftest import Publisher
from .test_trips import MONTHS, Ingestion, failure, materialized, query_of_read_plans
from .test_zones import load_zones, zones
from .zone_files import csv_text, zone_rows


@pytest.fixture
def ingestion(publisher: Publisher, s3_root: str, instance: dg.DagsterInstance) -> Ingestion:
    return Ingestion(publisher, s3_root, instance)


def files(root: str, folder: str) -> dict[str, str]:
    return {
        path.name: v for path, v in storage.versions_below(storage.path_at(root) / folder).items()
    }


def test_months_are_loaded_once_and_again_when_replaced(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS[:2])
    assert ingestion.run(*MONTHS[:2]).success
    assert ingestion.trips() == dict.fromkeys(MONTHS[:2], 3)
    before = files(str(ingestion.root), "")
    metadata = SourceMetadata.load_verified(
        storage.path_at(str(ingestion.root)) / "raw" / "taxi_trips_2023-01.parquet"
    )
    assert metadata
    assert metadata.address.endswith("yellow_tripdata_2023-01.parquet")

    result = ingestion.run(*MONTHS[:2])
    assert materialized(result) == sorted(
        (name, month) for name in ("taxi_trips", "taxi_trips_file") for month in MONTHS[:2]
    )
    del before["data.duckdb"]  # made again by every run
    assert {**files(str(ingestion.root), ""), **before} == files(str(ingestion.root), "")

    ingestion.publish(MONTHS[1], rows=2)
    assert ingestion.run(MONTHS[1], MONTHS[1]).success
    assert ingestion.trips() == {MONTHS[0]: 3, MONTHS[1]: 2}


def test_month_that_loses_rows_keeps_the_previous_rows(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(MONTHS[0])
    assert ingestion.run(MONTHS[0], MONTHS[0]).success
    ingestion.publish(MONTHS[0], rows=2)
    query = query_of_read_plans()
    monkeypatch.setattr(ReadPlan, "query", property(lambda self: f"{query(self)} LIMIT 1"))
    result = ingestion.run(MONTHS[0], MONTHS[0])
    assert not result.success
    assert "has 2 rows, and 1 came out of it; the lake keeps what it had" in failure(result)
    assert ingestion.trips() == {MONTHS[0]: 3}
    assert not [name for name in files(str(ingestion.root), "staging") if "partial" in name]


def test_zones_are_loaded(instance: dg.DagsterInstance, s3_root: str, tmp_path: Path) -> None:
    source = tmp_path / "zones.csv"
    source.write_text(csv_text(zone_rows()))
    assert load_zones(instance, source, s3_root).success
    assert zones(s3_root)[4] == ("Zone 4", "Queens", zone_rows()[3]["the_geom"])
