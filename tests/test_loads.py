"""What `ingestion` loads of TLC's real files equals what pandas and geopandas make of them.

Its environment has neither of them: DuckDB would import them at every start of a run.
"""

import json
import shutil
import subprocess
from pathlib import Path

import geopandas
import pandas as pd
import pytest

from taxi_platform.workspace import locations

MONTHS = (
    ("yellow", "2009-06"),
    ("yellow", "2018-06"),
    ("yellow", "2018-07"),
    ("yellow", "2019-03"),
    ("yellow", "2022-03"),
    ("yellow", "2025-01"),
    ("green", "2024-01"),
    ("green", "2025-01"),
)
LOAD = """
import json, sys
from upath import UPath
from ingestion.lib import loading, zone_csv
from ingestion.lib.zones import merge_duplicate_zones, write_zones
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import GREEN_TRIPS, TRIPS, ZONES

data, source, *wanted = sys.argv[1:]
database = LakeDatabase(data_root=data)
with database.get_connection(tables=[ZONES]) as con:
    zones = zone_csv.read_zones(UPath(source) / "misc" / "taxi_zones.csv").zones
    write_zones(con, database.lake, merge_duplicate_zones(zones))
for name in wanted:
    service, month = name.split()
    table = {"yellow": TRIPS, "green": GREEN_TRIPS}[service]
    file = UPath(source) / "trip-data" / f"{service}_tripdata_{month}.parquet"
    with database.get_connection(tables=[ZONES]) as con:
        loaded = loading.load(con, database.lake, table, loading.MonthFile(f"{month}-01", file))
    print(json.dumps({"rows": loaded.rows, **loaded.quality}))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loads")


@pytest.fixture(scope="module")
def reports(data: Path, real_files: Path) -> dict[tuple[str, str], dict[str, int]]:
    """What `ingestion` reports of each month, in its own environment."""
    (ingestion,) = (each for each in locations() if each.name == "ingestion")
    names = [f"{service} {month}" for service, month in MONTHS]
    done = subprocess.run(
        # Copied, as a connection reads files below the data root alone.
        [
            *(str(ingestion.python), "-c", LOAD, str(data)),
            *(str(shutil.copytree(real_files, data / "source")), *names),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(MONTHS, found, strict=True))


@pytest.mark.parametrize(("service", "month"), MONTHS[1:])
def test_quality_counts_equal_pandas_on_the_source(
    reports: dict[tuple[str, str], dict[str, int]], real_files: Path, service: str, month: str
) -> None:
    source = pd.read_parquet(real_files / "trip-data" / f"{service}_tripdata_{month}.parquet")
    prefix = {"yellow": "tpep", "green": "lpep"}[service]
    pickup, dropoff = source[f"{prefix}_pickup_datetime"], source[f"{prefix}_dropoff_datetime"]
    first = pd.Timestamp(f"{month}-01")
    found = dict(reports[service, month])
    nulls = {k.removeprefix("nulls in "): found.pop(k) for k in [*found] if k.startswith("nulls")}
    assert found == {
        "rows": len(source),
        "pickups outside the month": (
            ~pickup.between(first, first + pd.offsets.MonthBegin(), inclusive="left")
        ).sum(),
        "negative totals": (source["total_amount"] < 0).sum(),
        "zero totals": (source["total_amount"] == 0).sum(),
        "unknown totals": source["total_amount"].isna().sum(),
        "dropoffs before pickup": (dropoff < pickup).sum(),
        "over 24 hours": (dropoff - pickup > pd.Timedelta(hours=24)).sum(),
        "over 200 miles": (source["trip_distance"] > 200).sum(),
        "unknown pickup zones": (~source["PULocationID"].between(1, 263)).sum(),
        "unknown dropoff zones": (~source["DOLocationID"].between(1, 263)).sum(),
        "exact duplicates": source.duplicated().sum(),
        "nan values": 0,
        "unusable times": 0,
        "rounded values": 0,
        "utc offsets": 0,
    }
    for ours, theirs in (
        ("passenger_count", "passenger_count"),
        ("rate_code_id", "RatecodeID"),
        ("store_and_fwd_flag", "store_and_fwd_flag"),
        ("total_amount", "total_amount"),
    ):
        assert nulls[ours] == source[theirs].isna().sum()


def test_zones_of_june_2009_equal_geopandas_sjoin(
    reports: dict[tuple[str, str], dict[str, int]], data: Path, real_files: Path
) -> None:
    (file,) = (data / "staging" / "trips" / "partition_date=2009-06-01").glob("*.parquet")
    trips = pd.read_parquet(file)
    table = pd.read_csv(real_files / "misc" / "taxi_zones.csv")
    shapes = geopandas.GeoDataFrame(
        {"zone": table["LocationID"]}, geometry=geopandas.GeoSeries.from_wkt(table["the_geom"])
    )
    for event in ("pickup", "dropoff"):
        points = geopandas.points_from_xy(trips[f"{event}_longitude"], trips[f"{event}_latitude"])
        joined = geopandas.sjoin(
            geopandas.GeoDataFrame(geometry=points), shapes, how="left", predicate="within"
        )
        assert len(joined) == len(trips)  # no point in two zones
        got = trips[f"{event}_zone_id"].astype("float64")
        assert joined["zone"].equals(got)
        assert got.notna().mean() > 0.95
