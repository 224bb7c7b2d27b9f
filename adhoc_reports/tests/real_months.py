"""A lake of TLC's real months, and the same trips in pandas."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb
import pandas as pd

from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import FHV_TRIPS, FHVHV_TRIPS, GREEN_TRIPS, TRIPS, ZONES, Column, Table
from taxi_testing.lakes import Month
from taxi_testing.questions import REPOSITORY

SOURCE = Path(os.environ.get("TEST_TLC_FILES", REPOSITORY / "examples" / "tlc"))
"""A folder of TLC's layout: the small real files of the repository, or whole months."""
MONTHS: Mapping[str, tuple[str, ...]] = {
    "yellow": ("2019-01", "2019-02", "2019-03"),
    "green": ("2024-01",),
}
TABLES = {"yellow": TRIPS, "green": GREEN_TRIPS}
FOR_HIRE = {"fhvhv": FHVHV_TRIPS, "fhv": FHV_TRIPS}
# TLC's for-hire months are too large to keep: trips of yellow taxis stand in for them.
FOR_HIRE_MONTH = "2019-02"
FOR_HIRE_SOURCES = {"base_passenger_fare": "fare_amount"}


def file_of(service: str, month: str) -> Path:
    """TLC's file of a month."""
    return SOURCE / "trip-data" / f"{service}_tripdata_{month}.parquet"


def write(lake: Lake, without: Collection[str] = ()) -> None:
    """Load the real months and zones, but for some months."""
    with duckdb.connect() as con:
        zones = str(SOURCE / "misc" / "taxi_zones.csv")
        query = (
            "SELECT CAST(LocationID AS INTEGER) AS zone_id, zone, borough, the_geom AS geometry "
            "FROM read_csv($f)"
        )
        lake.write(con, ZONES, Rows(query, {"f": zones}))
        for service, months in MONTHS.items():
            for month in sorted({*months} - {*without}):
                _load(con, lake, TABLES[service], file_of(service, month), month)
        for table in FOR_HIRE.values():
            _load(con, lake, table, file_of("yellow", FOR_HIRE_MONTH), FOR_HIRE_MONTH)


def _load(con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, file: Path, month: str) -> None:
    found = con.execute("DESCRIBE FROM read_parquet($f)", {"f": str(file)}).fetchall()
    in_file = {name.lower(): name for name, *_ in found}

    by_name = {column.name: column.sources for column in TRIPS.columns}

    def source(column: Column) -> str:
        same = by_name.get(FOR_HIRE_SOURCES.get(column.name, column.name), ())
        sources = (*column.sources, *same)
        names = [in_file[each.lower()] for each in sources if each.lower() in in_file]
        value = f'"{names[0]}"' if names else "NULL"
        return f"CAST({value} AS {column.type}) AS {column.name}"

    plain = ", ".join(source(column) for column in table.columns if not column.expression)
    assert table.days
    computed, days = (
        ", ".join(f"CAST({c.expression} AS {c.type}) AS {c.name}" for c in columns if c.expression)
        for columns in (table.columns, table.days.columns)
    )
    rows = Rows(
        f"SELECT *, {computed} FROM (SELECT {plain} FROM read_parquet($f))", {"f": str(file)}
    )
    counted = f"SELECT {days} FROM read_parquet($file) GROUP BY pickup_date"
    Month(f"{month}-01", rows, counted, table).write(con, lake)


def frame(service: str) -> pd.DataFrame:
    """The trips of all months as pandas reads them: pickup and drop-off, zones and amounts."""
    files = [str(file_of(service, month)) for month in MONTHS[service]]
    letter = {"yellow": "t", "green": "l"}[service]
    with duckdb.connect() as con:
        query = "SELECT *, regexp_extract(filename, '(\\d{4}-\\d{2})\\.parquet', 1) AS month "
        query += "FROM read_parquet($f, union_by_name = true, filename = true)"
        trips = con.execute(query, {"f": files}).df()
    zones = pd.read_csv(SOURCE / "misc" / "taxi_zones.csv").drop_duplicates("LocationID")
    zones = zones.set_index("LocationID")
    picked, dropped = trips[f"{letter}pep_pickup_datetime"], trips[f"{letter}pep_dropoff_datetime"]
    return pd.DataFrame(
        {
            "month": trips["month"],
            "pickup": picked,
            "day": picked.dt.normalize(),
            "hour": picked.dt.hour,
            "weekday": (picked.dt.day_of_week + 1) % 7,
            "minutes": (dropped - picked).dt.total_seconds() / 60,
            "pickup_zone": trips["PULocationID"],
            "dropoff_zone": trips["DOLocationID"],
            "pickup_borough": trips["PULocationID"].map(zones["borough"]),
            "dropoff_borough": trips["DOLocationID"].map(zones["borough"]),
            "pickup_name": trips["PULocationID"].map(zones["zone"]),
            "dropoff_name": trips["DOLocationID"].map(zones["zone"]),
            "miles": trips["trip_distance"],
            "fare": trips["fare_amount"],
            "tip": trips["tip_amount"],
            "payment": trips["payment_type"],
        }
    )
