"""The synthetic sample has the form and the oddities of TLC's files, and says that it is synthetic.

The expected columns are written out here, apart from the code, as read off the footers of the
published files.
"""

import csv
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import combinations
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from taxi_platform.sample import trips, write_sample, zones
from taxi_shared import services

ROWS = 20_000
MARCH = date(2023, 3, 1)
LAYOUT_2009 = """
    vendor_name: string, Trip_Pickup_DateTime: string, Trip_Dropoff_DateTime: string,
    Passenger_Count: int64, Trip_Distance: double, Start_Lon: double, Start_Lat: double, Rate_Code:
    double, store_and_forward: double, End_Lon: double, End_Lat: double, Payment_Type: string,
    Fare_Amt: double, surcharge: double, mta_tax: double, Tip_Amt: double, Tolls_Amt: double,
    Total_Amt: double"""
LAYOUT_2010 = """
    vendor_id: string, pickup_datetime: string, dropoff_datetime: string, passenger_count: int64,
    trip_distance: double, pickup_longitude: double, pickup_latitude: double, rate_code:
    {rate_code}, store_and_fwd_flag: string, dropoff_longitude: double, dropoff_latitude: double,
    payment_type: string, fare_amount: double, surcharge: double, mta_tax: double, tip_amount:
    double, tolls_amount: double, total_amount: double"""
LAYOUT_2011 = """
    VendorID: {id}, tpep_pickup_datetime: timestamp[us], tpep_dropoff_datetime: timestamp[us],
    passenger_count: {code}, trip_distance: double, RatecodeID: {code}, store_and_fwd_flag: {text},
    PULocationID: {id}, DOLocationID: {id}, payment_type: int64, fare_amount: double, extra: double,
    mta_tax: double, tip_amount: double, tolls_amount: double, improvement_surcharge: double,
    total_amount: double, congestion_surcharge: {congestion}, {airport}"""
LAYOUT_GREEN = """
    VendorID: {id}, lpep_pickup_datetime: timestamp[us], lpep_dropoff_datetime: timestamp[us],
    store_and_fwd_flag: {text}, RatecodeID: {code}, PULocationID: {id}, DOLocationID: {id},
    passenger_count: {code}, trip_distance: double, fare_amount: double, extra: double, mta_tax:
    double, tip_amount: double, tolls_amount: double, ehail_fee: {ehail}, improvement_surcharge:
    double, total_amount: double, payment_type: {code}, trip_type: {trip_type},
    congestion_surcharge: {congestion}"""
LAYOUT_FHV = """
    dispatching_base_num: {text}, pickup_datetime: timestamp[us], dropOff_datetime: timestamp[us],
    PUlocationID: {pickup}, DOlocationID: {dropoff}, SR_Flag: {flag}, Affiliated_base_number:
    {text}"""
LAYOUT_FHVHV = """
    hvfhs_license_num: {text}, dispatching_base_num: {text}, originating_base_num: {text},
    request_datetime: timestamp[us], on_scene_datetime: timestamp[us], pickup_datetime:
    timestamp[us], dropoff_datetime: timestamp[us], PULocationID: {id}, DOLocationID: {id},
    trip_miles: double, trip_time: int64, base_passenger_fare: double, tolls: double, bcf: double,
    sales_tax: double, congestion_surcharge: double, airport_fee: {airport}, tips: double,
    driver_pay: double, shared_request_flag: {text}, shared_match_flag: {text}, access_a_ride_flag:
    {text}, wav_request_flag: {text}, wav_match_flag: {wav}"""
OLD = {"id": "int64", "code": "int64", "text": "string"}
UNSURE = {**OLD, "code": "double"}
NEW = {"id": "int32", "code": "int64", "text": "large_string"}
NO_FEES = {"congestion": "null", "airport": "airport_fee: null"}
CONGESTION = {"congestion": "double", "airport": "airport_fee: null"}
BOTH_FEES = {"congestion": "double", "airport": "airport_fee: double"}
RENAMED = {"congestion": "double", "airport": "Airport_fee: double"}

EXPECTED_LAYOUTS = [
    ("yellow", "2009-01", LAYOUT_2009),
    ("yellow", "2009-12", LAYOUT_2009),
    ("yellow", "2010-01", LAYOUT_2010.format(rate_code="string")),
    ("yellow", "2010-02", LAYOUT_2010.format(rate_code="int64") + ", __index_level_0__: int64"),
    ("yellow", "2010-03", LAYOUT_2010.format(rate_code="int64") + ", __index_level_0__: int64"),
    ("yellow", "2010-04", LAYOUT_2010.format(rate_code="string")),
    ("yellow", "2011-01", LAYOUT_2011.format(**OLD, **NO_FEES)),
    ("yellow", "2018-06", LAYOUT_2011.format(**OLD, **CONGESTION)),
    ("yellow", "2018-07", LAYOUT_2011.format(**UNSURE, **NO_FEES)),
    ("yellow", "2019-01", LAYOUT_2011.format(**UNSURE, **CONGESTION)),
    ("yellow", "2020-10", LAYOUT_2011.format(**UNSURE, **CONGESTION)),
    ("yellow", "2020-11", LAYOUT_2011.format(**UNSURE, **BOTH_FEES)),
    ("yellow", "2023-01", LAYOUT_2011.format(**UNSURE, **BOTH_FEES)),
    ("yellow", "2023-02", LAYOUT_2011.format(**NEW, **RENAMED)),
    ("yellow", "2024-12", LAYOUT_2011.format(**NEW, **RENAMED)),
    ("yellow", "2025-01", LAYOUT_2011.format(**NEW, **RENAMED) + ", cbd_congestion_fee: double"),
    (
        "yellow",
        "2026-06",
        LAYOUT_2011.format(**NEW, **RENAMED)
        + ", cbd_congestion_fee: double, request_source: large_string",
    ),
    (
        "green",
        "2014-01",
        LAYOUT_GREEN.format(**OLD, ehail="null", trip_type="double", congestion="null"),
    ),
    (
        "green",
        "2019-01",
        LAYOUT_GREEN.format(**UNSURE, ehail="double", trip_type="double", congestion="double"),
    ),
    (
        "green",
        "2019-09",
        LAYOUT_GREEN.format(**UNSURE, ehail="null", trip_type="double", congestion="double"),
    ),
    (
        "green",
        "2023-02",
        LAYOUT_GREEN.format(**NEW, ehail="double", trip_type="int64", congestion="double"),
    ),
    (
        "green",
        "2025-01",
        LAYOUT_GREEN.format(**NEW, ehail="double", trip_type="int64", congestion="double")
        + ", cbd_congestion_fee: double",
    ),
    *(
        (
            *("fhv", month),
            LAYOUT_FHV.format(text=text, pickup=pickup, dropoff=dropoff, flag=flag),
        )
        for month, text, pickup, dropoff, flag in (
            ("2015-01", "string", "double", "double", "null"),
            ("2017-05", "string", "double", "double", "double"),
            ("2019-02", "string", "double", "double", "double"),
            ("2019-03", "string", "double", "double", "null"),
            ("2019-05", "string", "int64", "int64", "null"),
            ("2019-07", "string", "double", "double", "null"),
            ("2020-07", "string", "double", "int64", "null"),
            ("2020-08", "string", "double", "double", "null"),
            ("2023-01", "string", "double", "double", "null"),
            ("2023-02", "large_string", "int64", "int64", "int64"),
        )
    ),
    *(
        (*("fhvhv", month), LAYOUT_FHVHV.format(**types, airport=airport, wav=wav))
        for month, types, airport, wav in (
            ("2019-02", OLD, "null", "null"),
            ("2019-04", OLD, "null", "string"),
            ("2019-07", OLD, "double", "string"),
            ("2020-04", OLD, "null", "string"),
            ("2020-05", OLD, "double", "string"),
            ("2020-10", OLD, "null", "string"),
            ("2020-11", OLD, "double", "string"),
            ("2023-02", NEW, "double", "large_string"),
            ("2024-12", NEW, "double", "large_string"),
        )
    ),
    (
        *("fhvhv", "2025-01"),
        LAYOUT_FHVHV.format(**NEW, airport="double", wav="large_string")
        + ", cbd_congestion_fee: double",
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, [MARCH], ROWS)
    return root


@pytest.fixture(scope="module")
def march(root: Path) -> duckdb.DuckDBPyRelation:
    database = duckdb.connect()
    return database.read_parquet(str(root / "trip-data" / "yellow_tripdata_2023-03.parquet"))


def count(trips: duckdb.DuckDBPyRelation, condition: str) -> int:
    row = trips.filter(condition).count("*").fetchone()
    assert row is not None
    return int(row[0])


def read_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 20)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("service", "month", "layout"), EXPECTED_LAYOUTS)
def test_month_has_the_columns_and_types_of_tlc(service: str, month: str, layout: str) -> None:
    schema = trips.trip_schema(service, date.fromisoformat(f"{month}-01"))
    assert [f"{field.name}: {field.type}" for field in schema] == [
        " ".join(field.split()) for field in layout.split(",")
    ]


@pytest.mark.parametrize(
    ("service", "month"),
    [
        ("yellow", "2009-06"),
        ("yellow", "2010-02"),
        ("yellow", "2018-07"),
        ("yellow", "2026-06"),
        ("green", "2019-10"),
        ("fhv", "2018-01"),
        ("fhv", "2020-07"),
        ("fhvhv", "2019-02"),
        ("fhvhv", "2025-01"),
    ],
)
def test_file_of_every_layout_has_its_schema_and_rows(
    tmp_path: Path, service: str, month: str
) -> None:
    first_day = date.fromisoformat(f"{month}-01")
    path = write_sample(tmp_path, [first_day], 700, service=service)[0]
    assert path == tmp_path / "trip-data" / f"{service}_tripdata_{month}.parquet"
    assert pq.read_schema(path).remove_metadata() == trips.trip_schema(service, first_day)
    assert pq.read_metadata(path).num_rows == 700


def test_every_service_has_a_sample() -> None:
    assert tuple(trips.FIRST_MONTHS) == services.NAMES
    assert {service for service, *_ in EXPECTED_LAYOUTS} == set(services.NAMES)
    first = {each.name: f"{trips.FIRST_MONTHS[each.name]:%Y-%m}" for each in services.SERVICES}
    published = {each.name: each.first_month for each in services.SERVICES}
    assert {**first, "green": "2013-08"} == published  # the sample has no layout of 2013


def test_rows_do_not_depend_on_threads_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = pa.Table.from_batches(trips.trip_batches("yellow", MARCH, 5_000))
    monkeypatch.setattr(trips, "GENERATORS", 3)
    monkeypatch.setattr(trips, "BATCH_ROWS", 900)
    in_pieces = pa.Table.from_batches(trips.trip_batches("yellow", MARCH, 5_000))
    assert in_pieces.combine_chunks().equals(at_once.combine_chunks())


def test_the_same_parameters_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, [MARCH], ROWS)
    assert digests(tmp_path) == digests(root)


def test_another_month_has_other_trips(tmp_path: Path) -> None:
    march, may = write_sample(tmp_path, [MARCH, date(2023, 5, 31)], 1_000)[:2]
    assert may.name == "yellow_tripdata_2023-05.parquet"
    assert pq.read_table(march)["total_amount"] != pq.read_table(may)["total_amount"]


def test_existing_files_of_same_parameters_are_not_rewritten(tmp_path: Path) -> None:
    written = write_sample(tmp_path, [MARCH], 1_000)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in written]
    seen: list[tuple[Path, int, int]] = []
    assert (
        write_sample(tmp_path, [MARCH], 1_000, progress=lambda *step: seen.append(step)) == written
    )
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in written] == before
    assert seen == [(written[0], 1_000, 1_000)]


def test_another_number_of_rows_replaces_the_month(tmp_path: Path) -> None:
    for rows in (1_000, 600):
        path = write_sample(tmp_path, [MARCH], rows)[0]
        assert pq.read_metadata(path).num_rows == rows


def test_concurrent_writers_leave_complete_files_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as writers:
        one, other = writers.map(lambda _: write_sample(tmp_path, [MARCH], 2_000), range(2))
    assert one == other
    assert pq.read_metadata(one[0]).num_rows == 2_000
    assert sorted(digests(tmp_path)) == [
        "SYNTHETIC.txt",
        "misc/taxi_zone_lookup.csv",
        "misc/taxi_zones.csv",
        "trip-data/yellow_tripdata_2023-03.parquet",
    ]


def test_a_failure_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(OSError, match="no space left"):
        write_sample(tmp_path, [MARCH], 100)
    assert digests(tmp_path) == {}


def test_files_are_labeled_as_synthetic(root: Path) -> None:
    label = pq.read_metadata(root / "trip-data" / "yellow_tripdata_2023-03.parquet").metadata
    assert b"not data of the Taxi and Limousine Commission" in label[b"synthetic"]
    assert label[b"synthetic.rows"] == str(ROWS).encode()
    assert "SYNTHETIC" in (root / "SYNTHETIC.txt").read_text()


def test_files_that_may_be_originals_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "misc").mkdir()
    with pytest.raises(FileExistsError, match="may be originals"):
        write_sample(tmp_path, [MARCH], 100)

    original = write_sample(tmp_path / "sample", [MARCH], 100)[0]
    pq.write_table(pa.table({"VendorID": [1]}), original)
    with pytest.raises(FileExistsError, match="is not synthetic"):
        write_sample(tmp_path / "sample", [MARCH], 100)


@pytest.mark.parametrize(
    ("service", "month", "rows", "message"),
    [
        ("uber", MARCH, 10, "choose one of yellow, green, fhv, fhvhv"),
        ("yellow", date(2008, 12, 1), 10, "yellow trips begin with 2009-01"),
        ("green", date(2013, 8, 1), 10, "green trips begin with 2014-01"),
        ("fhvhv", date(2019, 1, 1), 10, "fhvhv trips begin with 2019-02"),
        ("yellow", MARCH, 0, "at least one row"),
    ],
)
def test_invalid_parameters_are_refused_with_valid_ones(
    tmp_path: Path, service: str, month: date, rows: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path, [month], rows, service=service)


def test_total_is_the_sum_of_its_parts_in_whole_cents(march: duckdb.DuckDBPyRelation) -> None:
    parts = """fare_amount + extra + mta_tax + tip_amount + tolls_amount + improvement_surcharge
        + coalesce(congestion_surcharge, 0) + coalesce(airport_fee, 0)"""
    assert count(march, f"total_amount <> round({parts}, 2)") == 0


def test_some_pickups_are_outside_the_month(march: duckdb.DuckDBPyRelation) -> None:
    assert (
        count(
            march,
            "tpep_pickup_datetime >= '2023-02-28 20:00' AND tpep_pickup_datetime < '2023-03-01'",
        )
        == 6
    )
    assert (
        count(
            march,
            "tpep_pickup_datetime >= '2023-04-01' AND tpep_pickup_datetime < '2023-04-01 03:00'",
        )
        == 2
    )
    assert count(march, "tpep_pickup_datetime < '2009-01-02'") == 2
    assert count(march, "month(tpep_pickup_datetime) = 3") == ROWS - 10


def test_rows_are_sorted_by_hour_but_not_by_minute(march: duckdb.DuckDBPyRelation) -> None:
    steps = march.filter("payment_type > 0").project(
        """tpep_pickup_datetime AS pickup, lag(pickup) OVER () AS before,
        date_trunc('hour', pickup) AS hour"""
    )
    assert count(steps, "pickup < before") > ROWS / 4
    assert (
        count(steps, "hour < date_trunc('hour', before)") == 1
    )  # back from the clock of 2009 to 2023 is a step up


def test_oddities_are_as_rare_as_in_the_originals(march: duckdb.DuckDBPyRelation) -> None:
    assert 0.003 < count(march, "total_amount < 0") / ROWS < 0.008
    assert 0.005 < count(march, "passenger_count = 0") / ROWS < 0.02
    assert 0 < count(march, "tpep_dropoff_datetime < tpep_pickup_datetime") < ROWS / 1_000
    assert 0.005 < count(march, "PULocationID IN (264, 265)") / ROWS < 0.02
    assert ROWS - len(march.distinct()) < ROWS / 1_000


def test_trips_from_apps_lack_the_same_columns(march: duckdb.DuckDBPyRelation) -> None:
    lacking = (
        "passenger_count",
        "RatecodeID",
        "store_and_fwd_flag",
        "congestion_surcharge",
        "airport_fee",
    )
    unknown = count(march, "payment_type = 0")
    assert 0.025 < unknown / ROWS < 0.035
    for column in lacking:
        assert (
            count(march, f"{column} IS NULL AND payment_type = 0")
            == count(march, f"{column} IS NULL")
            == unknown
        )


def test_trips_are_where_and_when_new_yorkers_ride(
    march: duckdb.DuckDBPyRelation, root: Path
) -> None:
    boroughs = {
        int(row["LocationID"]): row["Borough"]
        for row in read_csv(root / "misc" / "taxi_zone_lookup.csv")
    }
    pickups = [boroughs[zone] for (zone,) in march.project("PULocationID").fetchall()]
    share = {borough: pickups.count(borough) / ROWS for borough in set(pickups)}
    assert 0.85 < share["Manhattan"] < 0.91
    assert share["Queens"] > share["Brooklyn"] > share["Bronx"]
    evening, small_hours = (
        count(march, f"hour(tpep_pickup_datetime) = {hour}") for hour in (18, 4)
    )
    assert evening > 5 * small_hours
    assert count(march, "payment_type = 1 AND tip_amount > 0") > 0.9 * count(
        march, "payment_type = 1"
    )
    assert count(march, "payment_type > 1 AND tip_amount <> 0") == 0


def test_points_of_2009_lie_in_zones_or_are_zero(tmp_path: Path) -> None:
    table = pq.read_table(write_sample(tmp_path, [date(2009, 6, 1)], 2_000)[0])
    points = shapely.points(table["Start_Lon"].to_numpy(), table["Start_Lat"].to_numpy())
    city = shapely.union_all([zone.geometry for zone in zones.taxi_zones()]).buffer(1e-6)
    shapely.prepare(city)
    without_fix = shapely.get_x(points) == 0
    assert 0 < without_fix.mean() < 0.04
    assert shapely.contains(city, points[~without_fix]).mean() > 0.99


def test_zone_map_has_the_quirks_of_tlc(root: Path) -> None:
    rows = read_csv(root / "misc" / "taxi_zones.csv")
    assert list(rows[0]) == [
        "OBJECTID",
        "Shape_Leng",
        "the_geom",
        "Shape_Area",
        "zone",
        "LocationID",
        "borough",
        "synthetic",
    ]
    assert {row["synthetic"] for row in rows} == {"true"}
    assert [int(row["OBJECTID"]) for row in rows] == list(range(1, 264))
    ids = [int(row["LocationID"]) for row in rows]
    assert {i: ids.count(i) for i in ids if ids.count(i) > 1} == {56: 2, 103: 3}
    assert set(range(1, 264)) - set(ids) == {57, 104, 105}
    boroughs = [row["borough"] for row in rows]
    assert {borough: boroughs.count(borough) for borough in boroughs} == {
        "EWR": 1, "Queens": 69, "Bronx": 43, "Manhattan": 69, "Staten Island": 20, "Brooklyn": 61,
    }  # fmt: skip
    airports = {row["LocationID"]: row["borough"] for row in rows if "Airport" in row["zone"]}
    assert airports == {"1": "EWR", "132": "Queens", "138": "Queens"}
    assert all(row["the_geom"].startswith("MULTIPOLYGON (((-7") for row in rows)


def test_lookup_has_every_zone_and_two_without_a_shape(root: Path) -> None:
    path = root / "misc" / "taxi_zone_lookup.csv"
    assert path.read_text().startswith(
        '"LocationID","Borough","Zone","service_zone"\n1,"EWR","Newark Airport","EWR"\n'
    )
    rows = read_csv(path)
    assert [int(row["LocationID"]) for row in rows] == list(range(1, 266))
    assert [tuple(row.values())[1:] for row in rows[-2:]] == [
        ("Unknown", "NV", "N/A"),
        ("Unknown", "NA", "N/A"),
    ]
    names_on_the_map = {row["zone"] for row in read_csv(root / "misc" / "taxi_zones.csv")}
    assert {row["Zone"] for row in rows[:-2]} == names_on_the_map


def test_zones_are_valid_and_do_not_overlap(root: Path) -> None:
    shapes = shapely.from_wkt(
        [row["the_geom"] for row in read_csv(root / "misc" / "taxi_zones.csv")]
    )
    assert shapely.is_valid(shapes).all()
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T
    neighbours = [(a, b) for a, b in pairs if a < b]
    assert len(neighbours) > 500
    assert (
        max(shapely.area(shapely.intersection(shapes[a], shapes[b])) for a, b in neighbours) < 1e-10
    )


def test_boroughs_have_no_holes_between_zones() -> None:
    for borough in ("Manhattan", "Brooklyn", "Bronx", "Staten Island", "Queens"):
        ground = [zone.geometry for zone in zones.taxi_zones() if zone.borough == borough]
        # Closing gaps under a metre, which rounding may leave, must not leave any wider one.
        whole = shapely.union_all(ground).buffer(1e-6)
        assert sum(len(part.interiors) for part in shapely.get_parts(whole)) == 0


def test_islands_are_disjoint_and_zone_names_unique() -> None:
    names = [zone.name for zone in zones.taxi_zones() if zone.location_id not in (56, 103)]
    assert len(set(names)) == len(names)
    harbor = [zone.geometry for zone in zones.taxi_zones() if zone.location_id == 103]
    assert all(one.disjoint(other) for one, other in combinations(harbor, 2))
