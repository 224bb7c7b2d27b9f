"""The results of the whole pipeline on TLC's real files equal an independent computation."""

import json
import os
import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from .conftest import SETTINGS

pytestmark = pytest.mark.system

MONTHS = ("2019-01", "2019-02", "2019-03")


@pytest.fixture(scope="module")
def results(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root after the command `pipeline` for three months."""
    base = tmp_path_factory.mktemp("results")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    command = [sys.executable, "-m", "taxi_platform", "pipeline"]
    done = subprocess.run(
        [*command, "--from", MONTHS[0], "--to", MONTHS[-1]],
        check=False,
        env={
            **environment,
            "DAGSTER_HOME": str(base / "home"),
            "TAXI_DATA_ROOT": str(base / "data"),
            "TLC_SOURCE_URL": str(real_files),
            "TAXI_ZONES_URL": str(real_files / "misc" / "taxi_zones.csv"),
            "TAXI_START_DATE": "2019-01-01",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for asset in (
        "taxi_trips_file",
        "taxi_trips",
        "taxi_zones_file",
        "taxi_zones",
        "trips_by_week",
        "manhattan_stats",
        "manhattan_map",
        "adhoc_request",
    ):
        assert re.search(rf"{asset} ", done.stdout), asset
    return base / "data"


@pytest.fixture(scope="module")
def source(real_files: Path) -> pd.DataFrame:
    """The source files as pandas reads them."""
    return pd.concat(
        pd.read_parquet(real_files / "trip-data" / f"yellow_tripdata_{month}.parquet")
        for month in MONTHS
    )


@pytest.fixture(scope="module")
def lookup(real_files: Path) -> pd.DataFrame:
    return pd.read_csv(real_files / "misc" / "taxi_zone_lookup.csv", keep_default_na=False)


def test_trips_have_every_row_and_zones_unique_ids(results: Path, source: pd.DataFrame) -> None:
    with duckdb.connect(str(results / "staging" / "data.duckdb"), read_only=True) as con:
        assert con.execute(
            "SELECT partition_date, count(*) FROM trips GROUP BY ALL ORDER BY ALL"
        ).fetchall() == [(pd.Timestamp(f"{month}-01").date(), len(source) // 3) for month in MONTHS]
        assert con.execute("SELECT count(*), count(DISTINCT zone_id) FROM zones").fetchone() == (
            265,
            265,
        )


def test_every_week_equals_pandas_to_the_cent(results: Path, source: pd.DataFrame) -> None:
    pickups = source["tpep_pickup_datetime"]
    sunday = (pickups - pd.to_timedelta((pickups.dt.day_of_week + 1) % 7, unit="D")).dt.date
    cents = source.assign(
        period=sunday.astype(str),
        total_amount=(source["total_amount"] * 100).round().astype("int64"),
        trip_distance=(source["trip_distance"] * 100).round().astype("int64"),
    )
    expected = cents.groupby("period").agg(
        num_trips=("total_amount", "size"),
        total_amount=("total_amount", "sum"),
        trip_distance=("trip_distance", "sum"),
        passenger_count=("passenger_count", "sum"),
    )
    got = pd.read_csv(results / "outputs" / "trips_by_week.csv", dtype=str)
    assert list(got.columns) == [
        "period",
        "num_trips",
        "total_amount",
        "trip_distance",
        "passenger_count",
    ]
    sundays = pd.date_range("2019-01-06", "2019-03-24", freq="7D")
    assert list(got["period"]) == list(sundays.strftime("%Y-%m-%d"))
    for row in got.itertuples():
        week = expected.loc[row.period]
        assert int(row.num_trips) == week.num_trips
        assert Decimal(row.total_amount) * 100 == int(week.total_amount)
        assert Decimal(row.trip_distance) * 100 == int(week.trip_distance)
        assert int(row.passenger_count) == week.passenger_count


def test_trips_per_zone_equal_pandas(
    results: Path, source: pd.DataFrame, lookup: pd.DataFrame
) -> None:
    features = json.loads((results / "staging" / "manhattan_stats.geojson").read_text())["features"]
    got = {f["properties"]["zone"]: f["properties"]["num_trips"] for f in features}
    manhattan = lookup[lookup["Borough"] == "Manhattan"]
    counts = source["PULocationID"].value_counts()
    expected = (
        manhattan.assign(trips=manhattan["LocationID"].map(counts).fillna(0).astype(int))
        .groupby("Zone")["trips"]
        .sum()
        .to_dict()
    )
    assert got == expected
    assert sum(got.values()) > 0.8 * len(source)


def test_table_of_a_request_equals_pandas(
    results: Path, source: pd.DataFrame, lookup: pd.DataFrame
) -> None:
    got = pd.read_csv(results / "outputs" / "manhattan_2019-01_2019-03.csv", index_col=0)
    zones = lookup.loc[lookup["Borough"] == "Manhattan", "LocationID"]
    pickups = source["tpep_pickup_datetime"]
    chosen = source[
        source["PULocationID"].isin(zones) & (pickups >= "2019-01-01") & (pickups < "2019-04-01")
    ]["tpep_pickup_datetime"]
    expected = pd.crosstab(chosen.dt.hour, (chosen.dt.day_of_week + 1) % 7)
    assert got.shape == (24, 7)
    assert (got.to_numpy() == expected.to_numpy()).all()
    assert got.columns[0] == "Sunday"


def test_pictures_are_png_files(results: Path) -> None:
    for name in ("manhattan_map.png", "manhattan_2019-01_2019-03.png"):
        assert (results / "outputs" / name).read_bytes().startswith(b"\x89PNG")


def test_pickup_outside_the_range_is_kept_in_no_week(results: Path, source: pd.DataFrame) -> None:
    strays = source[source["tpep_pickup_datetime"] >= "2019-04-01"]
    assert len(strays) == 1
    with duckdb.connect(str(results / "staging" / "data.duckdb"), read_only=True) as con:
        assert con.execute(
            "SELECT partition_date FROM trips WHERE pickup_date >= DATE '2019-04-01'"
        ).fetchall() == [(date(2019, 3, 1),)]
