"""What `ingestion` loads of TLC's files equals what pandas and geopandas make of them.

The files of yellow and green taxis are real. Those of for-hire vehicles are of the sample, in the
columns and types of TLC's.

Its environment has neither of them: DuckDB would import them at every start of a run.
"""

import json
import shutil
import subprocess
from datetime import date
from pathlib import Path

import geopandas
import pandas as pd
import pytest

from taxi_platform.sample import write_sample
from taxi_platform.workspace import locations
from taxi_shared.services import SERVICES

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
FOR_HIRE = (
    *(("fhv", month) for month in ("2015-01", "2018-01", "2019-05", "2020-07", "2023-02")),
    *(("fhvhv", month) for month in ("2019-02", "2019-04", "2020-10", "2022-01", "2025-01")),
)
LOAD = """
import json, sys
from upath import UPath
from ingestion.lib import loading, zone_csv
from ingestion.lib.zones import merge_duplicate_zones, write_zones
from taxi_shared.database import LakeDatabase
from taxi_shared.services import SERVICES
from taxi_shared.tables import ZONES

tables = {service.name: service.table for service in SERVICES}
data, source, *wanted = sys.argv[1:]
database = LakeDatabase(data_root=data)
with database.get_connection(tables=[ZONES]) as con:
    zones = zone_csv.read_zones(UPath(source) / "misc" / "taxi_zones.csv").zones
    write_zones(con, database.lake, merge_duplicate_zones(zones))
for name in wanted:
    service, month = name.split()
    file = UPath(source) / "trip-data" / f"{service}_tripdata_{month}.parquet"
    with database.get_connection(tables=[ZONES]) as con:
        month_file = loading.MonthFile(f"{month}-01", file)
        loaded = loading.load(con, database.lake, tables[service], month_file)
    print(json.dumps({"rows": loaded.rows, **loaded.quality}))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loads")


@pytest.fixture(scope="module")
def reports(data: Path, real_files: Path) -> dict[tuple[str, str], dict[str, int]]:
    """What `ingestion` reports of each month, in its own environment."""
    (ingestion,) = (each for each in locations() if each.name == "ingestion")
    names = [f"{service} {month}" for service, month in (*MONTHS, *FOR_HIRE)]
    # Copied, as a connection reads files below the data root alone.
    source = shutil.copytree(real_files, data / "source")
    for service, month in FOR_HIRE:
        (file, *_) = write_sample(
            data / "sample", [date.fromisoformat(f"{month}-01")], 2_000, service=service
        )
        shutil.copy(file, source / "trip-data")
    done = subprocess.run(
        [str(ingestion.python), "-c", LOAD, str(data), str(source), *names],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip((*MONTHS, *FOR_HIRE), found, strict=True))


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


@pytest.mark.parametrize(("service", "month"), FOR_HIRE)
def test_every_column_of_for_hire_trips_equals_pandas(
    reports: dict[tuple[str, str], dict[str, int]], data: Path, service: str, month: str
) -> None:
    name = f"{service}_tripdata_{month}.parquet"
    source = pd.read_parquet(data / "source" / "trip-data" / name)
    table = next(each.table for each in SERVICES if each.name == service)
    (file,) = (data / "staging" / table.name / f"partition_date={month}-01").glob("*.parquet")
    loaded = pd.read_parquet(file)
    assert reports[service, month]["rows"] == len(loaded) == len(source)
    described = {source for column in table.columns for source in column.sources}
    assert set(source.columns) <= described
    for column in (c for c in table.columns if not c.expression):
        got, (original,) = loaded[column.name], column.sources
        if original not in source or source[original].isna().all():
            assert got.isna().all(), column.name
        elif column.type == "VARCHAR":
            expected = source[original].str.strip().replace("", None)
            assert got.equals(expected.astype(got.dtype)), column.name
        elif column.type == "TIMESTAMP":
            assert got.equals(source[original].astype(got.dtype)), column.name
        else:
            digits = int(column.type[-2]) if column.type.startswith("DECIMAL") else 0
            numbers = pd.to_numeric(got).round(digits)
            assert numbers.equals(source[original].astype(numbers.dtype).round(digits)), column.name


@pytest.mark.parametrize(("service", "month"), FOR_HIRE)
def test_quality_counts_of_for_hire_trips_equal_pandas(
    reports: dict[tuple[str, str], dict[str, int]], data: Path, service: str, month: str
) -> None:
    name = f"{service}_tripdata_{month}.parquet"
    source = pd.read_parquet(data / "source" / "trip-data" / name)
    names = {each.lower(): each for each in source.columns}
    pickup, dropoff = (source[names[f"{event}_datetime"]] for event in ("pickup", "dropoff"))
    taken, zones = (
        dropoff - pickup,
        [source[names[each]] for each in ("pulocationid", "dolocationid")],
    )
    first = pd.Timestamp(f"{month}-01")
    expected = {
        "rows": len(source),
        "pickups outside the month": (
            ~pickup.between(first, first + pd.offsets.MonthBegin(), inclusive="left")
        ).sum(),
        "dropoffs before pickup": (taken < pd.Timedelta(0)).sum(),
        "over 24 hours": (taken > pd.Timedelta(hours=24)).sum(),
        "unknown pickup zones": (~zones[0].between(1, 263)).sum(),
        "unknown dropoff zones": (~zones[1].between(1, 263)).sum(),
        "exact duplicates": source.duplicated().sum(),
        **dict.fromkeys(("nan values", "unusable times", "rounded values", "utc offsets"), 0),
    }
    if service == "fhvhv":
        parts = ["base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge"]
        parts += ["airport_fee", "tips", "cbd_congestion_fee"]
        paid = source.reindex(columns=parts).fillna(0).astype("float64").sum(axis="columns")
        (file,) = (data / "staging" / "fhvhv_trip_days").glob(f"*={month}-01/*.parquet")
        days = pd.read_parquet(file).set_index("pickup_date")["total_amount"].astype("float64")
        totals = paid.groupby(pickup.dt.date).sum()
        assert days.round(2).to_dict() == totals.round(2).to_dict()
        expected |= {
            "negative totals": 0,
            "zero totals": 0,
            "unknown totals": 0,
            "over 200 miles": (source["trip_miles"] > 200).sum(),
        }
    found = reports[service, month]
    assert {k: v for k, v in found.items() if not k.startswith("nulls in")} == expected
