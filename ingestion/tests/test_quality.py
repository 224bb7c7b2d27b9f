"""Unusual trips are counted, each on its day, and none is dropped."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from upath import UPath

from ingestion.lib import loading, quality
from ingestion.lib.loading import LoadedMonth, MonthFile
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS, Table

from .layouts import parquet, yellow

MARCH = datetime(2023, 3, 1)


@pytest.fixture
def database(tmp_path: Path) -> LakeDatabase:
    return LakeDatabase(data_root=str(tmp_path))


def load(database: LakeDatabase, table: Table, month: str, file: UPath) -> LoadedMonth:
    with database.get_connection() as con:
        return loading.load(con, database.lake, table, MonthFile(f"{month}-01", file))


def march(tmp_path: Path, **columns: Sequence[object]) -> UPath:
    """A file of March 2023 with these values, and otherwise the same trip again and again."""
    count = len(next(iter(columns.values())))
    trip = yellow("2023-03", rows=1)
    table = pa.table(
        {
            name: pa.array(
                columns.get(name, trip.column(name).to_pylist() * count),
                trip.schema.field(name).type,
            )
            for name in trip.column_names
        }
    )
    file = UPath(tmp_path / "march.parquet")
    file.write_bytes(parquet(table))
    return file


def test_column_without_values_is_counted_as_nulls(database: LakeDatabase, tmp_path: Path) -> None:
    file = march(tmp_path, passenger_count=[None] * 5)
    found = load(database, TRIPS, "2023-03", file).quality
    assert found["nulls in passenger_count"] == 5
    assert found["nulls in airport_fee"] == 0
    assert "nulls in pickup_longitude" not in found  # which no file of that month has


def test_unusual_trips_are_counted_on_their_day_and_kept(
    database: LakeDatabase, tmp_path: Path
) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    file = march(
        tmp_path,
        tpep_pickup_datetime=[MARCH, MARCH, MARCH, MARCH + day, MARCH + day, MARCH - hour, None],
        tpep_dropoff_datetime=[
            MARCH + hour,
            MARCH + hour,
            MARCH - hour,
            MARCH + 2 * day,
            MARCH + 2 * day + timedelta(microseconds=1),
            MARCH,
            MARCH,
        ],
        total_amount=[10.0, 10.0, -10.0, 0.0, 1.0, 1.0, None],
        trip_distance=[1.0, 1.0, 200.0, 200.01, 1.0, 1.0, 1.0],
        PULocationID=[1, 1, 263, 264, 265, None, 1],
    )
    loaded = load(database, TRIPS, "2023-03", file)
    assert loaded.rows == 7
    found = {k: v for k, v in loaded.quality.items() if not k.startswith("nulls")}
    assert found == {
        "pickups outside the month": 2,
        "negative totals": 1,
        "zero totals": 1,
        "unknown totals": 1,
        "dropoffs before pickup": 1,
        "over 24 hours": 1,
        "over 200 miles": 1,
        "unknown pickup zones": 3,
        "unknown dropoff zones": 0,
        "exact duplicates": 1,
        "nan values": 0,
        "unusable times": 0,
        "rounded values": 0,
        "utc offsets": 0,
    }
    assert loaded.quality["nulls in pickup_datetime"] == 1
    assert "nulls in request_source" not in loaded.quality
    with database.get_connection() as con:
        days = con.execute(
            "SELECT pickup_date, num_trips, num_negative_totals, num_over_24_hours "
            "FROM trip_days ORDER BY pickup_date NULLS LAST"
        ).fetchall()
    assert [(str(date), *counts) for date, *counts in days] == [
        ("2023-02-28", 1, 0, 0),
        ("2023-03-01", 3, 1, 0),
        ("2023-03-02", 2, 0, 1),
        ("None", 1, 0, 0),
    ]


@pytest.mark.parametrize("hashes_at_once", [quality.HASHES_PER_QUERY, 30, 1])
def test_duplicates_are_counted_on_their_day(
    database: LakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashes_at_once: int
) -> None:
    monkeypatch.setattr(quality, "HASHES_PER_QUERY", hashes_at_once)
    amounts = [float(n // 3) for n in range(99)]  # every trip three times
    pickups = [MARCH + timedelta(days=n // 33) if n < 66 else None for n in range(99)]
    file = march(tmp_path, total_amount=amounts, tpep_pickup_datetime=pickups)
    assert load(database, TRIPS, "2023-03", file).quality["exact duplicates"] == 66
    with database.get_connection() as con:
        days = con.execute("SELECT num_exact_duplicates FROM trip_days").fetchall()
    assert days == [(22,), (22,), (22,)]


@pytest.mark.parametrize("different", [1, 3, 20_000, 2**63])
@pytest.mark.parametrize("number", [0, 1, 2, 50_000, 1_500_000])
def test_duplicate_hashes_are_counted_as_a_set_counts_them(number: int, different: int) -> None:
    random = np.random.default_rng(number)
    hashes = random.integers(0, different, number, dtype=np.uint64)
    # As they are, only the lowest bits differ; by the factor, all of them.
    for factor in (1, 0x9E3779B97F4A7C15):
        some = hashes * np.uint64(factor)
        assert quality.count_duplicates(some) == number - len(set(some.tolist()))


def test_hashes_that_differ_in_one_bit_are_no_duplicates() -> None:
    hashes = np.array([1 << bit for bit in range(64)] * 3, dtype=np.uint64)
    assert quality.count_duplicates(hashes) == 128


def test_unchanged_month_is_reported_the_same(database: LakeDatabase, tmp_path: Path) -> None:
    file = march(tmp_path, total_amount=[1.0, -1.0, -1.0])
    first, second = (load(database, TRIPS, "2023-03", file) for _ in range(2))
    assert (first.changed, second.changed) == (True, False)
    assert first.quality == second.quality
    assert first.quality["negative totals"] == 2
