"""Files of TLC's with a few made-up trips, in exactly the physical types of a month."""

import io
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

PICKUP = datetime(2023, 3, 5, 23, 59, 59, 123456)
DROPOFF = datetime(2023, 3, 6, 0, 10, 1)


def yellow(month: str, rows: int = 3) -> pa.Table:
    """A yellow file of the layouts since 2011-01; row i differs from row 0 by its numbers."""
    ids = pa.int32() if month >= "2023-02" else pa.int64()
    counts = pa.float64() if "2018-07" <= month < "2023-02" else pa.int64()
    text = pa.large_string() if month >= "2023-02" else pa.string()
    congestion = pa.float64() if month >= "2019-01" else pa.null()
    airport = pa.float64() if month >= "2020-11" else pa.null()
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
    return pa.table(
        {name: pa.array(values[:rows], kind) for name, (kind, values) in columns.items()}
    )


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
