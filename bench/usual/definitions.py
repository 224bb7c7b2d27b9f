"""Loads TLC's trips into DuckDB in the way that courses on Dagster teach.

Assets are partitioned by month, with one run per partition and one process per step. The file is
fetched into memory and written; pandas reads it and renames its columns; SQL creates the table if
it is missing, deletes the partition's old rows and inserts the new ones. Executor, run queue,
sensors and daemon are Dagster's defaults, started by `dagster dev`.
"""

import os
from pathlib import Path

import dagster as dg
import pandas as pd
import requests
from dagster_duckdb import DuckDBResource

SOURCE = os.environ["TLC_SOURCE_URL"]
DATA = Path(os.environ["TAXI_DATA_ROOT"])

monthly_partition = dg.MonthlyPartitionsDefinition(start_date="2023-01-01")
NAMES = {
    "VendorID": "vendor_id",
    "tpep_pickup_datetime": "pickup_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
    "RatecodeID": "rate_code_id",
    "PULocationID": "pickup_zone_id",
    "DOLocationID": "dropoff_zone_id",
    "Airport_fee": "airport_fee",
}


def raw_file(month: str) -> Path:
    """The path of a month's raw file."""
    return DATA / "raw" / f"taxi_trips_{month}.parquet"


@dg.asset(partitions_def=monthly_partition, group_name="raw_files")
def taxi_trips_file(context: dg.AssetExecutionContext) -> None:
    """The raw Parquet file of a month of yellow taxi trips."""
    month_to_fetch = context.partition_key[:-3]
    raw_trips = requests.get(  # noqa: S113 (courses set no timeout)
        f"{SOURCE}/trip-data/yellow_tripdata_{month_to_fetch}.parquet"
    )
    with raw_file(month_to_fetch).open("wb") as output_file:
        output_file.write(raw_trips.content)


@dg.asset(deps=["taxi_trips_file"], partitions_def=monthly_partition, group_name="ingested")
def taxi_trips(context: dg.AssetExecutionContext, database: DuckDBResource) -> None:
    """The raw trips of a month, loaded into a DuckDB database, partitioned by month."""
    partition_date = context.partition_key
    trips_of_month = pd.read_parquet(raw_file(partition_date[:-3])).rename(columns=NAMES)
    trips_of_month["partition_date"] = partition_date
    with database.get_connection() as conn:
        conn.execute("create table if not exists trips as from trips_of_month limit 0")
        conn.execute("delete from trips where partition_date = $1", [partition_date])
        conn.execute("insert into trips by name select * from trips_of_month")


defs = dg.Definitions(
    assets=[taxi_trips_file, taxi_trips],
    resources={"database": DuckDBResource(database=dg.EnvVar("DUCKDB_DATABASE"))},
)
