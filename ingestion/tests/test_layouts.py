"""Layouts of every service, with text, and with points instead of zones, loaded into a lake."""

import shutil
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from ingestion.lib import loading
from ingestion.lib.conform import ValueNotReadable
from ingestion.lib.loading import LoadedMonth, MonthFile
from ingestion.lib.parquet_schema import DamagedFile, LayoutError
from ingestion.lib.placement import ZonesMissing
from ingestion.lib.zones import Zone, write_zones
from taxi_shared.columns import page
from taxi_shared.database import LakeDatabase
from taxi_shared.services import FHV, FHVHV, SERVICES, Service
from taxi_shared.tables import GREEN_TRIPS, TRIPS, Table

from .layouts import (
    DROPOFF,
    LAYOUTS,
    PICKUP,
    canonical,
    fhv,
    fhvhv,
    green,
    parquet,
    without_derived,
    yellow,
    yellow_2009,
    yellow_2010,
)

ZONE_IDS = ("pickup_zone_id", "dropoff_zone_id")

WEST = Zone(7, "West", "Queens", "POLYGON ((-74 40.7, -73.9 40.7, -73.9 40.8, -74 40.8, -74 40.7))")
EAST = Zone(
    5, "East", "Queens", "POLYGON ((-73.9 40.7, -73.8 40.7, -73.8 40.8, -73.9 40.8, -73.9 40.7))"
)

TEXT_LAYOUTS = {
    "2009-01": yellow_2009(),
    **{month: yellow_2010(month) for month in ("2010-01", "2010-02", "2010-03", "2010-12")},
}


@pytest.fixture
def database(tmp_path: Path) -> LakeDatabase:
    return LakeDatabase(data_root=str(tmp_path))


@pytest.fixture
def zones(database: LakeDatabase) -> None:
    with database.get_connection() as con:
        write_zones(con, database.lake, [EAST, WEST])


def load(
    database: LakeDatabase, file: Path, month: str, table: Table = TRIPS, sha256: str = ""
) -> LoadedMonth:
    # Accepted, as the trips are the same in every layout: those of another month in most.
    source = MonthFile(f"{month}-01", UPath(file), sha256=sha256, is_accepted=True)
    with database.get_connection() as con:
        return loading.load(con, database.lake, table, source)


def rows(database: LakeDatabase, table: Table = TRIPS) -> list[dict[str, object]]:
    with database.get_connection() as con:
        found: list[dict[str, object]] = (
            con.execute(f"SELECT * FROM {table.name}").to_arrow_table().to_pylist()
        )
        return found


def load_table(
    database: LakeDatabase, content: pa.Table, month: str, table: Table = TRIPS
) -> list[dict[str, object]]:
    file = Path(database.data_root) / "file.parquet"
    file.write_bytes(parquet(content))
    assert load(database, file, month, table).unknown_columns == ()
    return rows(database, table)


@pytest.mark.parametrize("month", TEXT_LAYOUTS)
def test_month_with_text_and_points_is_read_value_by_value(
    database: LakeDatabase, zones: None, month: str
) -> None:
    got = load_table(database, TEXT_LAYOUTS[month], month)
    in_zones = [
        dict(zip(ZONE_IDS, ids, strict=True)) for ids in ((7, 5), (5, 5), *[(None,) * 2] * 2)
    ]
    expected = canonical(TEXT_LAYOUTS[month], TRIPS)
    assert without_derived(got, TRIPS) == [
        row | placed for row, placed in zip(expected, in_zones, strict=True)
    ]

    def column(name: str) -> list[object]:
        return [row[name] for row in got]

    year = 2009 if month < "2010" else 2010
    pickup = datetime(2009, 6, 7, 23, 59, 59) if year == 2009 else datetime(2010, 3, 7, 23, 59, 59)
    dropoff = datetime(2009, 6, 8, 0, 10, 1) if year == 2009 else datetime(2010, 3, 8, 0, 10, 1)
    assert column("vendor_id") == [2, 1, 3, 2]
    assert column("pickup_datetime") == [pickup] * 4
    assert column("dropoff_datetime") == [dropoff] * 4
    assert column("passenger_count") == [1, 0, 208, None]
    assert column("rate_code_id") == ([None, 1, None, None] if year == 2009 else [1, None, 2, None])
    assert column("store_and_fwd_flag") == [None, "N", "Y", None]
    assert column("payment_type") == [2, 1, 3, 4]
    for name in ("improvement_surcharge", "airport_fee", "cbd_congestion_fee", "request_source"):
        assert column(name) == [None] * 4


@pytest.mark.parametrize(
    ("service", "month"),
    [(service, month) for service in SERVICES for month in LAYOUTS[service.name][1]],
    ids=lambda each: each.name if isinstance(each, Service) else each,
)
def test_month_of_every_layout_is_read_value_by_value(
    database: LakeDatabase, service: Service, month: str
) -> None:
    content, table = LAYOUTS[service.name][0](month), service.table
    got = load_table(database, content, month, table)
    assert without_derived(got, table) == canonical(content, table)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_missing_column_of_any_layout_is_refused(database: LakeDatabase, service: Service) -> None:
    file = Path(database.data_root) / "file.parquet"
    layout, months = LAYOUTS[service.name]
    for month in months:
        content = layout(month)
        for name in content.column_names:
            file.write_bytes(parquet(content.drop_columns([name])))
            if any(c.is_published_in(month) and name in c.sources for c in service.table.columns):
                with pytest.raises(LayoutError, match=f"no column for .* expected one of .*{name}"):
                    load(database, file, month, service.table)


def test_green_trips_have_the_values_of_the_file(database: LakeDatabase) -> None:
    got = load_table(database, green("2025-01"), "2025-01", GREEN_TRIPS)

    def column(name: str) -> list[object]:
        return [row[name] for row in got]

    assert column("vendor_id") == [2, 1, 2]
    assert column("pickup_datetime") == [PICKUP] * 3
    assert column("dropoff_datetime") == [DROPOFF] * 3
    assert column("pickup_zone_id") == [74, 265, 132]
    assert column("rate_code_id") == [1, 5, None]
    assert column("payment_type") == column("trip_type") == [1, 2, None]
    assert column("total_amount") == [Decimal("14.16"), Decimal("-62.55"), Decimal("398469.20")]
    assert column("ehail_fee") == column("airport_fee") == column("pickup_longitude") == [None] * 3


def test_high_volume_trips_have_a_computed_total(database: LakeDatabase) -> None:
    got = load_table(database, fhvhv("2025-01"), "2025-01", FHVHV.table)

    def column(name: str) -> list[object]:
        return [row[name] for row in got]

    assert column("total_amount") == [Decimal("53.66"), Decimal("33.08"), None]
    assert column("trip_distance") == [Decimal("2.830"), Decimal("9.200"), Decimal("0.974")]
    assert column("driver_pay") == [Decimal("40.18"), Decimal("22.44"), Decimal("-67.76")]
    assert column("access_a_ride_flag") == ["N", None, None]
    assert column("arrival_datetime")[2] is None
    assert column("pickup_weekday") == [1, 5, 0]


def test_for_hire_trips_have_no_amounts(database: LakeDatabase) -> None:
    got = load_table(database, fhv("2018-01"), "2018-01", FHV.table)
    assert [row["dispatching_base"] for row in got] == ["B00256", "B02764", "b00001"]
    assert [row["shared_ride_flag"] for row in got] == [1, None, None]
    assert not [c.name for c in FHV.table.columns if c.type.startswith("DECIMAL")]
    assert FHV.table.days
    assert not FHV.table.days.has("total_amount")
    assert not FHV.table.days.has("num_over_200_miles")
    assert FHV.table.days.has("num_unknown_pickup_zones")


def test_green_trips_have_two_columns_more_than_yellow_ones() -> None:
    yellow_names = {column.name: column.type for column in TRIPS.all_columns}
    green_names = {column.name: column.type for column in GREEN_TRIPS.all_columns}
    own = {name: kind for name, kind in green_names.items() if name not in yellow_names}
    assert set(own) == {"ehail_fee", "trip_type"}
    assert {**yellow_names, **own} == green_names


def test_points_without_zones_fail_with_what_to_do(database: LakeDatabase, tmp_path: Path) -> None:
    with pytest.raises(ZonesMissing, match="materialize taxi_zones, then this month again"):
        load_table(database, yellow_2009(), "2009-06")


def test_month_without_trips_is_an_empty_partition(database: LakeDatabase, zones: None) -> None:
    assert load_table(database, yellow_2009(rows=0), "2009-06") == []


def test_points_are_placed_again_when_zones_change(
    database: LakeDatabase, zones: None, tmp_path: Path
) -> None:
    file = tmp_path / "file.parquet"
    file.write_bytes(parquet(yellow_2009()))
    later = tmp_path / "later.parquet"
    later.write_bytes(parquet(yellow("2011-01")))
    assert load(database, file, "2009-06").changed
    assert load(database, later, "2011-01").changed
    assert not load(database, file, "2009-06").changed
    with database.get_connection() as con:
        write_zones(con, database.lake, [Zone(9, "All", "Queens", WEST.geometry)])
    assert load(database, file, "2009-06").changed
    assert not load(database, later, "2011-01").changed
    assert rows(database)[0]["pickup_zone_id"] == 9


def test_damaged_file_keeps_the_previous_rows(database: LakeDatabase, tmp_path: Path) -> None:
    file = tmp_path / "damaged.parquet"
    content = bytearray(parquet(yellow("2023-03")))
    file.write_bytes(content)
    load(database, file, "2023-03")
    content[4:400] = bytes(396)
    file.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"damaged\.parquet: column VendorID is damaged"):
        load(database, file, "2023-03", sha256="another")
    assert len(rows(database)) == 3


def test_unreadable_text_of_2010_is_named_with_its_column(
    database: LakeDatabase, zones: None, tmp_path: Path
) -> None:
    content = yellow_2010("2010-01")
    index = content.column_names.index("rate_code")
    content = content.set_column(index, "rate_code", pa.array(["1", "JFK", "", None]))
    with pytest.raises(ValueNotReadable, match=r"rate_code, row 2 .*: 'JFK' does not fit"):
        load_table(database, content, "2010-01")


REAL = [
    *(("yellow", f"20{month}") for month in ("09-06", "18-06", "18-07", "19-03", "22-03", "25-01")),
    ("green", "2024-01"),
    ("green", "2025-01"),
]


@pytest.mark.parametrize(("service", "month"), REAL)
def test_real_files_lose_no_row_and_no_cent(
    database: LakeDatabase, zones: None, real_files: Path, tmp_path: Path, service: str, month: str
) -> None:
    name = f"{service}_tripdata_{month}.parquet"
    path = Path(shutil.copy(real_files / "trip-data" / name, tmp_path))
    table = next(each.table for each in SERVICES if each.name == service)
    loaded = load(database, path, month, table)
    assert loaded.unknown_columns == ()
    assert loaded.rows == pq.read_metadata(path).num_rows
    source = pq.read_table(path)
    names = {name.lower(): name for name in source.column_names}
    with database.get_connection() as con:
        for column in (c for c in table.columns if c.type.startswith("DECIMAL")):
            original = next((names[s.lower()] for s in column.sources if s.lower() in names), "")
            values = source.column(original).to_pylist() if original else []
            expected = [Decimal(str(v)) for v in values if v is not None]
            ((total, count),) = con.execute(
                f"SELECT coalesce(sum({column.name}), 0), count({column.name}) FROM {table.name}"
            ).fetchall()
            assert (total, count) == (sum(expected), len(expected)), column.name


def test_page_of_columns_is_up_to_date() -> None:
    written = Path(__file__).resolve().parents[2] / "docs" / "reference" / "columns.md"
    assert written.read_text() == page(), "run: python -m taxi_shared.columns"
