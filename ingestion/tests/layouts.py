"""Files of TLC's with a few made-up trips, in exactly the physical types of a month."""

import io
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_shared.tables import Column, Table

PICKUP = datetime(2023, 3, 5, 23, 59, 59, 123456)
DROPOFF = datetime(2023, 3, 6, 0, 10, 1)


def canonical(content: pa.Table, table: Table) -> list[dict[str, object]]:
    """The rows that a file becomes, worked out by Python, but for the columns that no file has."""
    columns = [c for c in table.columns if not c.expression]
    names = {
        c.name: next((s for s in c.sources if s in content.column_names), None) for c in columns
    }
    return [
        {c.name: _value(c, row[names[c.name]] if names[c.name] else None) for c in columns}
        for row in content.to_pylist()
    ]


def without_derived(rows: list[dict[str, object]], table: Table) -> list[dict[str, object]]:
    """Rows of a table without the columns that no file has."""
    names = [c.name for c in table.columns if not c.expression]
    return [{name: row[name] for name in names} for row in rows]


def _value(column: Column, value: object) -> object:
    if isinstance(value, str):
        value = value.strip() or None
    if value is None:
        return None
    if column.codes and (isinstance(value, str) or column.type == "VARCHAR"):
        value = column.codes.get(str(value).upper(), value)
    if column.type.startswith("DECIMAL"):
        return Decimal(str(value))
    if column.type == "TIMESTAMP":
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    python = {"INTEGER": int, "DOUBLE": float, "VARCHAR": str}[column.type]
    return python(value)


def yellow(month: str, rows: int = 3, *, null_types: bool = True) -> pa.Table:
    """A yellow file of the layouts since 2011-01; row i differs from row 0 by its numbers.

    Most months from before a fee have its column as Arrow's null type, some as doubles.
    """
    ids = pa.int32() if month >= "2023-02" else pa.int64()
    counts = pa.float64() if "2018-07" <= month < "2023-02" else pa.int64()
    text = pa.large_string() if month >= "2023-02" else pa.string()
    congestion = pa.null() if null_types and month < "2019-01" else pa.float64()
    airport = pa.null() if null_types and month < "2020-11" else pa.float64()
    columns: dict[str, tuple[pa.DataType, list[object]]] = {
        "VendorID": (ids, [2, 1, 2]),
        "tpep_pickup_datetime": (pa.timestamp("us"), [PICKUP] * 3),
        "tpep_dropoff_datetime": (pa.timestamp("us"), [DROPOFF] * 3),
        "passenger_count": (counts, [1, 0, None]),
        "trip_distance": (pa.float64(), [1.23, 0.0, 300833.99]),
        "RatecodeID": (counts, [1, 99, None]),
        "store_and_fwd_flag": (text, ["N", "Y", None]),
        "PULocationID": (ids, [237, 265, 132]),
        "DOLocationID": (ids, [141, 264, 1]),
        "payment_type": (pa.int64(), [1, 2, 0]),
        "fare_amount": (pa.float64(), [9.3, -52.0, 0.01]),
        "extra": (pa.float64(), [1.0, -2.5, 0.0]),
        "mta_tax": (pa.float64(), [0.5, -0.5, 0.0]),
        "tip_amount": (pa.float64(), [2.36, 0.0, 0.0]),
        "tolls_amount": (pa.float64(), [0.0, -6.55, 0.0]),
        "improvement_surcharge": (pa.float64(), [1.0, -1.0, 0.3]),
        "total_amount": (pa.float64(), [14.16, -62.55, 398469.2]),
        "congestion_surcharge": (
            congestion,
            [2.5, -2.5, None] if congestion != pa.null() else [None] * 3,
        ),
        ("Airport_fee" if month >= "2023-02" else "airport_fee"): (
            airport,
            [0.0, -1.25, None] if airport != pa.null() else [None] * 3,
        ),
    }
    if month >= "2025-01":
        columns["cbd_congestion_fee"] = (pa.float64(), [0.75, 0.0, None])
    if month >= "2026-06":
        columns["request_source"] = (pa.large_string(), ["street", "app", None])
    return _table(rows, columns)


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """A table whose column of that name, in its place, has these values."""
    return table.set_column(table.column_names.index(name), name, values)


def yellow_2009(rows: int = 4) -> pa.Table:
    """A yellow file of 2009: text datetimes and names, points instead of zones."""
    numbers = pa.float64()
    return _table(
        rows,
        {
            "vendor_name": (pa.string(), ["VTS", "CMT", "DDS", "VTS"]),
            "Trip_Pickup_DateTime": (pa.string(), ["2009-06-07 23:59:59"] * 4),
            "Trip_Dropoff_DateTime": (pa.string(), ["2009-06-08 00:10:01"] * 4),
            "Passenger_Count": (pa.int64(), [1, 0, 208, None]),
            "Trip_Distance": (numbers, [1.23, 0.0, 17.9, 0.5]),
            "Start_Lon": (numbers, [-73.95, -73.85, 0.0, None]),
            "Start_Lat": (numbers, [40.75, 40.75, 0.0, None]),
            "Rate_Code": (numbers, [None, 1.0, None, None]),
            "store_and_forward": (numbers, [None, 0.0, 1.0, None]),
            "End_Lon": (numbers, [-73.85, -73.9, 3500.0, -73.95]),
            "End_Lat": (numbers, [40.75, 40.75, 1e300, 41.5]),
            "Payment_Type": (pa.string(), ["CASH", "Credit", "No Charge", "Dispute"]),
            "Fare_Amt": (numbers, [9.3, -52.0, 0.01, 4.1]),
            "surcharge": (numbers, [0.5, 0.0, 1.0, 0.0]),
            "mta_tax": (numbers, [None, 0.5, None, None]),
            "Tip_Amt": (numbers, [2.36, 0.0, 0.0, 0.0]),
            "Tolls_Amt": (numbers, [0.0, 4.15, 0.0, 0.0]),
            "Total_Amt": (numbers, [12.16, -47.35, 1.01, 4.1]),
        },
    )


def yellow_2010(month: str, rows: int = 4) -> pa.Table:
    """A yellow file of 2010, its datetimes text as TLC's or, in December, timestamps."""
    text, numbers = pa.string(), pa.float64()
    is_stray_month = month in ("2010-02", "2010-03")
    codes: tuple[pa.DataType, list[object]] = (text, ["1", " ", "2", None])
    if is_stray_month:
        codes = (pa.int64(), [1, None, 2, None])
    pickups: tuple[pa.DataType, list[object]] = (text, ["2010-03-07 23:59:59"] * 4)
    dropoffs: tuple[pa.DataType, list[object]] = (text, ["2010-03-08 00:10:01"] * 4)
    if month == "2010-12":
        pickups = (pa.timestamp("us"), [datetime(2010, 3, 7, 23, 59, 59)] * 4)
        dropoffs = (pa.timestamp("us"), [datetime(2010, 3, 8, 0, 10, 1)] * 4)
    columns: dict[str, tuple[pa.DataType, list[object]]] = {
        "vendor_id": (text, ["VTS", "CMT", "DDS", "VTS"]),
        "pickup_datetime": pickups,
        "dropoff_datetime": dropoffs,
        "passenger_count": (pa.int64(), [1, 0, 208, None]),
        "trip_distance": (numbers, [1.23, 0.0, 17.9, 0.5]),
        "pickup_longitude": (numbers, [-73.95, -73.85, 0.0, None]),
        "pickup_latitude": (numbers, [40.75, 40.75, 0.0, None]),
        "rate_code": codes,
        "store_and_fwd_flag": (text, [None, "0", "1", ""]),
        "dropoff_longitude": (numbers, [-73.85, -73.9, 3500.0, -73.95]),
        "dropoff_latitude": (numbers, [40.75, 40.75, 1e300, 41.5]),
        "payment_type": (text, ["CAS", "Cre", "NOC", "DIS"]),
        "fare_amount": (numbers, [9.3, -52.0, 0.01, 4.1]),
        "surcharge": (numbers, [0.5, 0.0, 1.0, 0.0]),
        "mta_tax": (numbers, [None, 0.5, None, None]),
        "tip_amount": (numbers, [2.36, 0.0, 0.0, 0.0]),
        "tolls_amount": (numbers, [0.0, 4.15, 0.0, 0.0]),
        "total_amount": (numbers, [12.16, -47.35, 1.01, 4.1]),
    }
    if is_stray_month:
        columns["__index_level_0__"] = (pa.int64(), [10, 11, 12, 13])
    return _table(rows, columns)


def green(month: str, rows: int = 3) -> pa.Table:
    """A green file of the layouts since 2013-08."""
    modern = month >= "2023-02"
    ids, counts = (pa.int32(), pa.int64()) if modern else (pa.int64(), pa.float64())
    text, numbers = pa.large_string() if modern else pa.string(), pa.float64()
    unknown = pa.null() if month < "2019-01" else numbers
    columns: dict[str, tuple[pa.DataType, list[object]]] = {
        "VendorID": (ids, [2, 1, 2]),
        "lpep_pickup_datetime": (pa.timestamp("us"), [PICKUP] * 3),
        "lpep_dropoff_datetime": (pa.timestamp("us"), [DROPOFF] * 3),
        "store_and_fwd_flag": (text, ["N", "Y", None]),
        "RatecodeID": (counts, [1, 5, None]),
        "PULocationID": (ids, [74, 265, 132]),
        "DOLocationID": (ids, [75, 264, 1]),
        "passenger_count": (counts, [1, 0, None]),
        "trip_distance": (numbers, [1.23, 0.0, 300833.99]),
        "fare_amount": (numbers, [9.3, -52.0, 0.01]),
        "extra": (numbers, [1.0, -2.5, 0.0]),
        "mta_tax": (numbers, [0.5, -0.5, 0.0]),
        "tip_amount": (numbers, [2.36, 0.0, 0.0]),
        "tolls_amount": (numbers, [0.0, -6.55, 0.0]),
        "ehail_fee": (pa.null() if not modern else numbers, [None] * 3),
        "improvement_surcharge": (numbers, [1.0, -1.0, 0.3]),
        "total_amount": (numbers, [14.16, -62.55, 398469.2]),
        "payment_type": (pa.int64() if modern else numbers, [1, 2, None]),
        "trip_type": (pa.int64() if modern else numbers, [1, 2, None]),
        "congestion_surcharge": (
            unknown,
            [None] * 3 if unknown == pa.null() else [2.75, -2.75, None],
        ),
    }
    if month >= "2025-01":
        columns["cbd_congestion_fee"] = (numbers, [0.75, 0.0, None])
    return _table(rows, columns)


def fhv(month: str, rows: int = 3) -> pa.Table:
    """A file of for-hire vehicles; bases pad their number and report few zones."""
    is_modern = month >= "2023-02"
    text = pa.large_string() if is_modern else pa.string()
    whole, numbers = pa.int64(), pa.float64()
    are_whole = is_modern or month in ("2019-05", "2019-06")
    flag = pa.int64() if is_modern else pa.null()
    if "2017-05" <= month < "2019-03":
        flag = numbers
    has_dropoffs = month >= "2017-01"
    return _table(
        rows,
        {
            "dispatching_base_num": (text, ["B00256         ", "B02764", "b00001"]),
            "pickup_datetime": (pa.timestamp("us"), [PICKUP] * 3),
            "dropOff_datetime": (
                pa.timestamp("us"),
                [DROPOFF, datetime(3019, 2, 3, 17, 30), None] if has_dropoffs else [None] * 3,
            ),
            "PUlocationID": (whole if are_whole else numbers, [237, None, 265]),
            "DOlocationID": (
                whole if are_whole or month == "2020-07" else numbers,
                [141, 264, None] if has_dropoffs else [None] * 3,
            ),
            "SR_Flag": (flag, [1, None, None] if flag == numbers else [None] * 3),
            "Affiliated_base_number": (text, ["B00256", None, " "]),
        },
    )


def fhvhv(month: str, rows: int = 3) -> pa.Table:
    """A file of high-volume for-hire services: two trips that TLC has published, and an odd one."""
    is_modern = month >= "2023-02"
    ids = pa.int32() if is_modern else pa.int64()
    text = pa.large_string() if is_modern else pa.string()
    times, numbers = pa.timestamp("us"), pa.float64()
    has_airport_fee = month >= "2019-07" and month not in ("2020-04", "2020-10")
    columns: dict[str, tuple[pa.DataType, list[object]]] = {
        "hvfhs_license_num": (text, ["HV0003", "HV0003", "HV0005"]),
        "dispatching_base_num": (text, ["B03404", "B02764", "B02510"]),
        "originating_base_num": (text, ["B03404", "B02764", None]),
        "request_datetime": (
            times,
            [datetime(2024, 1, 1, 0, 21, 47), datetime(2021, 1, 1, 0, 46, 11), PICKUP],
        ),
        "on_scene_datetime": (
            times,
            [datetime(2024, 1, 1, 0, 25, 6), datetime(2021, 1, 1, 0, 47, 17), None],
        ),
        "pickup_datetime": (
            times,
            [datetime(2024, 1, 1, 0, 28, 8), datetime(2021, 1, 1, 0, 48, 14), PICKUP],
        ),
        "dropoff_datetime": (
            times,
            [datetime(2024, 1, 1, 1, 5, 39), datetime(2021, 1, 1, 1, 8, 42), DROPOFF],
        ),
        "PULocationID": (ids, [161, 143, 265]),
        "DOLocationID": (ids, [158, 78, 264]),
        "trip_miles": (numbers, [2.83, 9.2, 0.974]),
        "trip_time": (pa.int64(), [2251, 1228, 602]),
        "base_passenger_fare": (numbers, [45.61, 27.11, None]),
        "tolls": (numbers, [0.0, 0.0, 6.94]),
        "bcf": (numbers, [1.25, 0.81, 0.0]),
        "sales_tax": (numbers, [4.05, 2.41, 0.0]),
        "congestion_surcharge": (numbers, [2.75, 2.75, None]),
        "airport_fee": (
            numbers if has_airport_fee else pa.null(),
            [0.0, None, 2.5] if has_airport_fee else [None] * 3,
        ),
        "tips": (numbers, [0.0, 0.0, 3.01]),
        "driver_pay": (numbers, [40.18, 22.44, -67.76]),
        "shared_request_flag": (text, ["N", "N", "Y"]),
        "shared_match_flag": (text, ["N", "N", "Y"]),
        "access_a_ride_flag": (text, ["N", " ", None]),
        "wav_request_flag": (text, ["N", "N", "Y"]),
        "wav_match_flag": (
            (text, ["N", "N", "Y"]) if month >= "2019-04" else (pa.null(), [None] * 3)
        ),
    }
    if month >= "2025-01":
        columns["cbd_congestion_fee"] = (numbers, [0.0, None, 1.5])
    return _table(rows, columns)


# A month for each of a service's layouts whose trips have zones.
LAYOUTS: dict[str, tuple[Callable[[str], pa.Table], tuple[str, ...]]] = {
    "yellow": (
        yellow,
        ("2011-01", "2018-07", "2019-01", "2020-11", "2023-02", "2025-01", "2026-06"),
    ),
    "green": (green, ("2013-08", "2019-01", "2023-02", "2025-01")),
    "fhv": (fhv, ("2015-01", "2017-05", "2019-03", "2019-05", "2019-07", "2020-07", "2023-02")),
    "fhvhv": (
        fhvhv,
        ("2019-02", "2019-04", "2019-07", "2020-10", "2020-11", "2023-02", "2025-01"),
    ),
}


def _table(rows: int, columns: dict[str, tuple[pa.DataType, list[object]]]) -> pa.Table:
    return pa.table(
        {name: pa.array(values[:rows], kind) for name, (kind, values) in columns.items()}
    )
