"""Synthetic trips with the columns, types, order and oddities of TLC's files.

This module decides which columns a month has, when and where people ride, and returns a month as
Arrow batches. The SQL files beside it have prices, trips and columns; `zones` has the map. A row
depends only on service, month, number of rows and its position in the file: batches and threads do
not change it.
"""

import zlib
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import accumulate, pairwise
from math import cos, exp, hypot, log, radians

import duckdb
import numpy as np
import pyarrow as pa
import shapely

from taxi_platform.sample.zones import (
    JFK,
    LAGUARDIA,
    NEWARK,
    OUTSIDE_NYC,
    STREET_60,
    STREET_96,
    UNKNOWN,
    Zone,
    is_south_of,
    taxi_zones,
)

# Since this month, TLC's files have narrower ids, integer counts, and Arrow's large strings.
RETYPED = date(2023, 2, 1)
FIRST_MONTHS = {
    "yellow": date(2009, 1, 1),
    "green": date(2014, 1, 1),
    "fhv": date(2015, 1, 1),
    "fhvhv": date(2019, 2, 1),
}
# Their files are cut by the pickup, and have no trips of apps in a part of their own.
FOR_HIRE = ("fhv", "fhvhv")

# A batch has about 40 MB, and at most four are in memory. Planning takes a tenth of a query's time.
BATCH_ROWS = 1 << 18
GENERATORS = 2

# Relative demand per hour, 0 to 23, and per day, Monday to Sunday.
WEEKDAY_HOURS = (
    18,
    11,
    7,
    5,
    5,
    8,
    22,
    40,
    51,
    50,
    48,
    50,
    53,
    54,
    58,
    60,
    58,
    66,
    74,
    72,
    64,
    57,
    50,
    34,
)
WEEKEND_HOURS = (
    62,
    52,
    42,
    31,
    20,
    10,
    11,
    16,
    25,
    36,
    46,
    53,
    58,
    60,
    60,
    61,
    62,
    65,
    69,
    67,
    59,
    54,
    56,
    54,
)
FRIDAY_NIGHT_HOUR = 20
FRIDAY_NIGHT = (58, 57, 58, 58)
DAYS = (0.86, 0.95, 0.99, 1.04, 1.07, 1.08, 0.92)
FRIDAY, SATURDAY, SUNDAY = 4, 5, 6

# TLC's files contain trips of neighbouring months and of clocks that were never set. One stray trip
# per ROWS_PER_STRAY rows, in this order.
STRAYS = (
    "before",
    "unset",
    "after",
    "before",
    "before",
    "after",
    "before",
    "unset",
    "before",
    "before",
)
ROWS_PER_STRAY = 500
UNSET_CLOCK = datetime(2009, 1, 1)

MIDTOWN = (-73.980, 40.757)
SLOTS = 1 << 14


@dataclass(frozen=True)
class Demand:
    """Where trips of a service begin and end: shares per area, and Midtown's pull in km."""

    pickups: dict[str, float]
    dropoffs: dict[str, float]
    pull_fades_km: float
    picks_up_in_core: bool


@dataclass(frozen=True)
class Place:
    """A place where trips begin and end, as triangles of longitude and latitude."""

    location_id: int
    area: str
    is_core: bool
    is_cbd: bool
    km_to_midtown: float
    triangles: list[np.ndarray]


@dataclass(frozen=True)
class Ride:
    """Rides to or from an area: median miles, spread of their logarithm, share with a toll."""

    miles: float
    spread: float
    toll_odds: float


# The farther end of a ride decides.
RIDES = {
    "manhattan": Ride(1.5, 0.64, 0.0),
    "unknown": Ride(2.2, 0.95, 0.03),
    "brooklyn": Ride(4.1, 0.70, 0.05),
    "queens": Ride(4.6, 0.70, 0.07),
    "bronx": Ride(4.8, 0.70, 0.07),
    "staten island": Ride(16.0, 0.25, 0.8),
    "laguardia": Ride(9.6, 0.25, 0.45),
    "jfk": Ride(16.4, 0.17, 0.42),
    "newark": Ride(17.3, 0.15, 0.85),
}

# Zone 264 is unknown; zone 265 is anywhere outside the city.
OFF_THE_MAP = (
    Place(UNKNOWN, "unknown", False, False, 0.0, [np.zeros((3, 2))]),
    Place(
        OUTSIDE_NYC,
        "unknown",
        False,
        False,
        6.0,
        [np.array([(-74.10, 40.95), (-73.95, 41.05), (-73.75, 41.00)])],
    ),
)

DEMAND = {
    "yellow": Demand(
        pickups={
            "manhattan": 880, "jfk": 45, "laguardia": 33, "queens": 13, "brooklyn": 14,
            "bronx": 2, "staten island": 0.2, "newark": 0.3, "unknown": 11,
        },
        dropoffs={
            "manhattan": 875, "jfk": 12, "laguardia": 13, "queens": 28, "brooklyn": 44,
            "bronx": 8, "staten island": 0.6, "newark": 2, "unknown": 13,
        },
        pull_fades_km=3.2,
        picks_up_in_core=True,
    ),
    "green": Demand(
        pickups={
            "manhattan": 360, "jfk": 0.5, "laguardia": 1, "queens": 300, "brooklyn": 260,
            "bronx": 60, "staten island": 0.5, "unknown": 3,
        },
        dropoffs={
            "manhattan": 420, "jfk": 8, "laguardia": 12, "queens": 280, "brooklyn": 240,
            "bronx": 65, "staten island": 0.6, "newark": 0.6, "unknown": 8,
        },
        pull_fades_km=9.0,
        picks_up_in_core=False,
    ),
    **dict.fromkeys(
        FOR_HIRE,
        Demand(
            pickups={
                "manhattan": 370, "jfk": 22, "laguardia": 24, "queens": 185, "brooklyn": 260,
                "bronx": 125, "staten island": 14, "unknown": 0.2,
            },
            dropoffs={
                "manhattan": 360, "jfk": 26, "laguardia": 24, "queens": 175, "brooklyn": 255,
                "bronx": 120, "staten island": 14, "newark": 6, "unknown": 20,
            },
            pull_fades_km=9.0,
            picks_up_in_core=True,
        ),
    ),
}  # fmt: skip


def trip_schema(service: str, month: date) -> pa.Schema:
    """The columns and types of TLC's file of a month, from the footers of the published files."""
    if service != "yellow":
        return {"green": _green_schema, "fhv": _fhv_schema, "fhvhv": _fhvhv_schema}[service](month)
    if month < date(2010, 1, 1):
        return _schema_of_2009()
    if month < date(2011, 1, 1):
        return _schema_of_2010(month)
    return _yellow_schema(month)


def trip_batches(service: str, month: date, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a month in file order, generated at most a few batches ahead of the reader."""
    schema = trip_schema(service, month)
    query = _query(_layout(service, month), schema)
    seed = zlib.crc32(f"{service} {month:%Y-%m}".encode())
    with (
        closing(_open_city(service, month, rows)) as city,
        ThreadPoolExecutor(GENERATORS) as generators,
    ):
        ahead: deque[Future[pa.RecordBatch]] = deque()
        for start in range(0, rows, BATCH_ROWS):
            span = {"from_row": start, "to_row": start + BATCH_ROWS, "seed": seed}
            ahead.append(generators.submit(_generate, city.cursor(), query, span, schema))
            if len(ahead) > GENERATORS + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _generate(
    city: duckdb.DuckDBPyConnection, query: str, span: dict[str, int], schema: pa.Schema
) -> pa.RecordBatch:
    """The rows of a span: the query's columns, and null columns that the query lacks."""
    trips = city.execute(query, span).to_arrow_reader(BATCH_ROWS).read_next_batch()
    columns = iter(trips.columns)
    arrays = [
        pa.nulls(trips.num_rows) if field.type == pa.null() else next(columns).cast(field.type)
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _query(layout: str, schema: pa.Schema) -> str:
    """The query of a layout for the columns that the month has."""
    names = ", ".join(f'"{field.name}"' for field in schema if field.type != pa.null())
    return f"SELECT {names} FROM ({_sql(layout)})"  # noqa: S608 - our own schema and file


def _schema_of_2009() -> pa.Schema:
    return pa.schema(
        [
            *_fields(pa.string(), "vendor_name", "Trip_Pickup_DateTime", "Trip_Dropoff_DateTime"),
            *_fields(pa.int64(), "Passenger_Count"),
            *_fields(
                pa.float64(),
                "Trip_Distance",
                "Start_Lon",
                "Start_Lat",
                "Rate_Code",
                "store_and_forward",
            ),
            *_fields(pa.float64(), "End_Lon", "End_Lat"),
            *_fields(pa.string(), "Payment_Type"),
            *_fields(
                pa.float64(),
                "Fare_Amt",
                "surcharge",
                "mta_tax",
                "Tip_Amt",
                "Tolls_Amt",
                "Total_Amt",
            ),
        ]
    )


def _schema_of_2010(month: date) -> pa.Schema:
    has_index = month in (date(2010, 2, 1), date(2010, 3, 1))
    return pa.schema(
        [
            *_fields(pa.string(), "vendor_id", "pickup_datetime", "dropoff_datetime"),
            *_fields(pa.int64(), "passenger_count"),
            *_fields(pa.float64(), "trip_distance", "pickup_longitude", "pickup_latitude"),
            *_fields(pa.int64() if has_index else pa.string(), "rate_code"),
            *_fields(pa.string(), "store_and_fwd_flag"),
            *_fields(pa.float64(), "dropoff_longitude", "dropoff_latitude"),
            *_fields(pa.string(), "payment_type"),
            *_fields(
                pa.float64(), "fare_amount", "surcharge", "mta_tax", "tip_amount", "tolls_amount"
            ),
            *_fields(pa.float64(), "total_amount"),
            *(_fields(pa.int64(), "__index_level_0__") if has_index else ()),
        ]
    )


def _yellow_schema(month: date) -> pa.Schema:
    is_modern = month >= RETYPED
    code, zone, text = _changing_types(month)
    has_congestion = month >= date(2019, 1, 1) or month == date(2018, 6, 1)
    has_airport_fee = month >= date(2020, 11, 1) or month in (date(2020, 8, 1), date(2020, 9, 1))
    return pa.schema(
        [
            *_fields(zone, "VendorID"),
            *_fields(pa.timestamp("us"), "tpep_pickup_datetime", "tpep_dropoff_datetime"),
            *_fields(code, "passenger_count"),
            *_fields(pa.float64(), "trip_distance"),
            *_fields(code, "RatecodeID"),
            *_fields(text, "store_and_fwd_flag"),
            *_fields(zone, "PULocationID", "DOLocationID"),
            *_fields(pa.int64(), "payment_type"),
            *_fields(pa.float64(), "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount"),
            *_fields(pa.float64(), "improvement_surcharge", "total_amount"),
            *_fields(pa.float64() if has_congestion else pa.null(), "congestion_surcharge"),
            *_fields(
                pa.float64() if has_airport_fee else pa.null(),
                "Airport_fee" if is_modern else "airport_fee",
            ),
            *_later_fields(month),
        ]
    )


def _green_schema(month: date) -> pa.Schema:
    code, zone, text = _changing_types(month)
    # The column is always empty, so its type is what TLC's writer makes of an empty column.
    is_null_typed = month < date(2019, 1, 1) or date(2019, 9, 1) <= month < RETYPED
    trip_type = pa.int64() if month >= RETYPED else pa.float64()
    return pa.schema(
        [
            *_fields(zone, "VendorID"),
            *_fields(pa.timestamp("us"), "lpep_pickup_datetime", "lpep_dropoff_datetime"),
            *_fields(text, "store_and_fwd_flag"),
            *_fields(code, "RatecodeID"),
            *_fields(zone, "PULocationID", "DOLocationID"),
            *_fields(code, "passenger_count"),
            *_fields(
                pa.float64(),
                "trip_distance",
                "fare_amount",
                "extra",
                "mta_tax",
                "tip_amount",
                "tolls_amount",
            ),
            *_fields(pa.null() if is_null_typed else pa.float64(), "ehail_fee"),
            *_fields(pa.float64(), "improvement_surcharge", "total_amount"),
            *_fields(code, "payment_type"),
            *_fields(trip_type, "trip_type"),
            *_fields(
                pa.float64() if month >= date(2019, 1, 1) else pa.null(), "congestion_surcharge"
            ),
            *_later_fields(month),
        ]
    )


def _fhv_schema(month: date) -> pa.Schema:
    text = _changing_types(month)[2]
    is_modern = month >= RETYPED
    is_whole = is_modern or month in (date(2019, 5, 1), date(2019, 6, 1))
    # Until 2017-04 and from 2019-03 on, no trip has the flag.
    if is_modern:
        flag = pa.int64()
    else:
        flag = pa.float64() if date(2017, 5, 1) <= month < date(2019, 3, 1) else pa.null()
    return pa.schema(
        [
            *_fields(text, "dispatching_base_num"),
            *_fields(pa.timestamp("us"), "pickup_datetime", "dropOff_datetime"),
            *_fields(pa.int64() if is_whole else pa.float64(), "PUlocationID"),
            *_fields(
                pa.int64() if is_whole or month == date(2020, 7, 1) else pa.float64(),
                "DOlocationID",
            ),
            *_fields(flag, "SR_Flag"),
            *_fields(text, "Affiliated_base_number"),
        ]
    )


def _fhvhv_schema(month: date) -> pa.Schema:
    _, zone, text = _changing_types(month)
    has_airport_fee = month >= date(2019, 7, 1) and month not in (
        date(2020, 4, 1),
        date(2020, 10, 1),
    )
    return pa.schema(
        [
            *_fields(text, "hvfhs_license_num", "dispatching_base_num", "originating_base_num"),
            *_fields(pa.timestamp("us"), "request_datetime", "on_scene_datetime"),
            *_fields(pa.timestamp("us"), "pickup_datetime", "dropoff_datetime"),
            *_fields(zone, "PULocationID", "DOLocationID"),
            *_fields(pa.float64(), "trip_miles"),
            *_fields(pa.int64(), "trip_time"),
            *_fields(pa.float64(), "base_passenger_fare", "tolls", "bcf", "sales_tax"),
            *_fields(pa.float64(), "congestion_surcharge"),
            *_fields(pa.float64() if has_airport_fee else pa.null(), "airport_fee"),
            *_fields(pa.float64(), "tips", "driver_pay"),
            *_fields(text, "shared_request_flag", "shared_match_flag"),
            *_fields(text, "access_a_ride_flag", "wav_request_flag"),
            *_fields(text if month >= date(2019, 4, 1) else pa.null(), "wav_match_flag"),
            *_cbd_field(month),
        ]
    )


def _changing_types(month: date) -> tuple[pa.DataType, pa.DataType, pa.DataType]:
    """The types of nullable codes, ids, and text."""
    if month >= RETYPED:
        return pa.int64(), pa.int32(), pa.large_string()
    return (pa.float64() if month >= date(2018, 7, 1) else pa.int64()), pa.int64(), pa.string()


def _later_fields(month: date) -> list[pa.Field]:
    source = _fields(pa.large_string(), "request_source") if month >= date(2026, 6, 1) else []
    return [*_cbd_field(month), *source]


def _cbd_field(month: date) -> list[pa.Field]:
    return _fields(pa.float64(), "cbd_congestion_fee") if month >= date(2025, 1, 1) else []


def _fields(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


def _layout(service: str, month: date) -> str:
    since = {"green": 2014, "fhv": 2015, "fhvhv": 2019}
    return f"{service}_{since.get(service) or min(month.year, 2011)}"


def _sql(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _open_city(service: str, month: date, rows: int) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with prices, places and the month's timetable."""
    # One thread per query keeps the order of rows; the generators run in parallel.
    city = duckdb.connect(config={"threads": 1})
    city.execute(_sql("tariffs"))
    city.register("hours", _timetable(service, month, rows))
    city.execute(_sql("pickup_hours"), {"service": service})
    demand = DEMAND[service]
    city.register("places", _places(demand.pickups, demand.pull_fades_km, demand.picks_up_in_core))
    city.execute("CREATE TABLE pickup_places AS FROM places")
    city.register("places", _places(demand.dropoffs, demand.pull_fades_km, in_core=True))
    city.execute("CREATE TABLE dropoff_places AS FROM places")
    city.execute(_sql("draws"))
    city.execute(_sql("trips"))
    # As written, a join keeps the order of its left side, the trips. The optimizer could swap it.
    city.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
    return city


def _timetable(service: str, month: date, rows: int) -> pa.Table:
    """Spans of rows with their pickup hour; trips of apps come last, as in TLC's files."""
    is_for_hire = service in FOR_HIRE
    strays = _strays(month, 0 if is_for_hire else rows)
    share = 0.0 if is_for_hire else _dispatched_share(month)
    dispatched = int((rows - sum(map(len, strays.values()))) * share)
    metered = rows - dispatched - sum(map(len, strays.values()))
    hours = _spread_over_hours(month, metered)
    half = len(hours) // 2
    runs = [
        *((hour, 1, True) for hour in strays["before"]),
        *((hour, count, True) for hour, count in hours[:half]),
        *((hour, 1, True) for hour in strays["unset"]),
        *((hour, count, True) for hour, count in hours[half:]),
        *((hour, 1, True) for hour in strays["after"]),
        *((hour, count, False) for hour, count in _spread_over_hours(month, dispatched)),
    ]
    ends = list(accumulate(count for _, count, _ in runs))
    return pa.table(
        {
            "first_row": [0, *ends[:-1]],
            "next_row": ends,
            "starts_at": [hour for hour, _, _ in runs],
            "is_metered": [is_metered for _, _, is_metered in runs],
        }
    )


def _spread_over_hours(month: date, rows: int) -> list[tuple[datetime, int]]:
    start, end = _midnight(month), _midnight(_next_month(month))
    hours = [
        start + timedelta(hours=hour) for hour in range(int((end - start).total_seconds()) // 3600)
    ]
    shares = list(accumulate((_demand_at(hour) for hour in hours), initial=0.0))
    bounds = [round(rows * share / shares[-1]) for share in shares]
    return [
        (hour, last - first) for hour, (first, last) in zip(hours, pairwise(bounds), strict=True)
    ]


def _demand_at(hour: datetime) -> float:
    weekday = hour.weekday()
    if weekday == FRIDAY and hour.hour >= FRIDAY_NIGHT_HOUR:
        return DAYS[weekday] * FRIDAY_NIGHT[hour.hour - FRIDAY_NIGHT_HOUR]
    hours = WEEKEND_HOURS if weekday in (SATURDAY, SUNDAY) else WEEKDAY_HOURS
    return DAYS[weekday] * hours[hour.hour]


def _dispatched_share(month: date) -> float:
    """The share of trips with few details: none before 2018-07, about 3 % since 2020."""
    if month < date(2018, 7, 1):
        return 0.0
    return 0.004 if month < date(2020, 1, 1) else 0.03


def _strays(month: date, rows: int) -> dict[str, list[datetime]]:
    """Pickup hours outside the month, by their position in the file."""
    used = STRAYS[: rows // ROWS_PER_STRAY]
    start, end = _midnight(month), _midnight(_next_month(month))
    hours = range(used.count("before"), 0, -1)
    return {
        "before": [start - timedelta(hours=(hour + 1) // 2) for hour in hours],
        "unset": [UNSET_CLOCK] * used.count("unset") if start > UNSET_CLOCK else [],
        "after": [end + timedelta(hours=hour) for hour in range(used.count("after"))],
    }


def _places(parts: dict[str, float], pull_fades_km: float, in_core: bool) -> pa.Table:
    """Slots to draw places from, each a triangle of a zone, in proportion to demand."""
    shares = _shares(parts, pull_fades_km, in_core)
    cumulative = np.cumsum(
        [share / len(place.triangles) for place, share in shares for _ in place.triangles]
    )
    ground = [(place, triangle) for place, _ in shares for triangle in place.triangles]
    drawn = np.searchsorted(cumulative, (np.arange(SLOTS) + 0.5) / SLOTS * cumulative[-1])
    places = [ground[index][0] for index in drawn]
    a, b, c = np.moveaxis(np.array([ground[index][1] for index in drawn]), 1, 0)
    return pa.table(
        {
            "slot": np.arange(SLOTS, dtype=np.uint64),
            "zone": [place.location_id for place in places],
            "log_miles": [log(RIDES[place.area].miles) for place in places],
            "spread": [RIDES[place.area].spread for place in places],
            "toll_odds": [RIDES[place.area].toll_odds for place in places],
            **{
                f"is_{area}": [place.area == area for place in places]
                for area in ("manhattan", "jfk", "laguardia", "newark")
            },
            "is_core": [place.is_core for place in places],
            "is_cbd": [place.is_cbd for place in places],
            "a_x": a[:, 0],
            "a_y": a[:, 1],
            "ab_x": (b - a)[:, 0],
            "ab_y": (b - a)[:, 1],
            "ac_x": (c - a)[:, 0],
            "ac_y": (c - a)[:, 1],
        }
    )


def _shares(
    parts: dict[str, float], pull_fades_km: float, in_core: bool
) -> list[tuple[Place, float]]:
    places = [place for place in _all_places() if in_core or not place.is_core]
    pulls = [exp(-place.km_to_midtown / pull_fades_km) for place in places]
    pull_of_area: defaultdict[str, float] = defaultdict(float)
    for place, pull in zip(places, pulls, strict=True):
        pull_of_area[place.area] += pull
    return [
        (place, parts.get(place.area, 0) * pull / pull_of_area[place.area])
        for place, pull in zip(places, pulls, strict=True)
    ]


@cache
def _all_places() -> tuple[Place, ...]:
    return (*map(_place_of, taxi_zones()), *OFF_THE_MAP)


def _place_of(zone: Zone) -> Place:
    areas = {JFK: "jfk", LAGUARDIA: "laguardia", NEWARK: "newark"}
    in_manhattan = zone.borough == "Manhattan"
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(zone.geometry))
    return Place(
        location_id=zone.location_id,
        area=areas.get(zone.location_id, zone.borough.lower()),
        is_core=in_manhattan and is_south_of(STREET_96, zone.geometry),
        is_cbd=in_manhattan and is_south_of(STREET_60, zone.geometry),
        km_to_midtown=_km_between(MIDTOWN, zone.geometry.centroid.coords[0]),
        triangles=[np.array(triangle.exterior.coords)[:3] for triangle in triangles],
    )


def _km_between(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    km_a_degree = 111.2
    east = (one[0] - other[0]) * cos(radians(one[1]))
    return km_a_degree * hypot(east, one[1] - other[1])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
