"""TLC's trips into DuckDB in the pattern of a Dagster course's finished project.

Monthly assets, one run a partition; the file is fetched whole into memory and written; SQL creates
the table if it is missing, deletes the partition's old rows and inserts the new ones. Executor, run
queue, sensors and daemon are Dagster's defaults, and `dagster dev` starts it all.
"""

import os
from pathlib import Path

import dagster as dg
import requests
from dagster_duckdb import DuckDBResource

SOURCE = os.environ["TLC_SOURCE_URL"]
DATA = Path(os.environ["TAXI_DATA_ROOT"])

monthly_partition = dg.MonthlyPartitionsDefinition(start_date="2023-01-01")


def raw_file(month: str) -> Path:
    return DATA / "raw" / f"taxi_trips_{month}.parquet"


@dg.asset(partitions_def=monthly_partition, group_name="raw_files")
def taxi_trips_file(context: dg.AssetExecutionContext) -> None:
    """The raw Parquet file of a month of yellow taxi trips."""
    month_to_fetch = context.partition_key[:-3]
    raw_trips = requests.get(f"{SOURCE}/trip-data/yellow_tripdata_{month_to_fetch}.parquet")
    with open(raw_file(month_to_fetch), "wb") as output_file:
        output_file.write(raw_trips.content)


@dg.asset(deps=["taxi_trips_file"], partitions_def=monthly_partition, group_name="ingested")
def taxi_trips(context: dg.AssetExecutionContext, database: DuckDBResource) -> None:
    """The raw trips of a month, loaded into a DuckDB database, partitioned by month."""
    partition_date = context.partition_key
    month_to_fetch = partition_date[:-3]
    query = f"""
        create table if not exists trips (
            vendor_id integer, pickup_zone_id integer, dropoff_zone_id integer,
            rate_code_id double, payment_type integer, dropoff_datetime timestamp,
            pickup_datetime timestamp, trip_distance double, passenger_count double,
            total_amount double, partition_date varchar
        );

        delete from trips where partition_date = '{partition_date}';

        insert into trips
        select
            VendorID, PULocationID, DOLocationID, RatecodeID, payment_type,
            tpep_dropoff_datetime, tpep_pickup_datetime, trip_distance, passenger_count,
            total_amount, '{partition_date}' as partition_date
        from '{raw_file(month_to_fetch)}';
    """
    with database.get_connection() as conn:
        conn.execute(query)


defs = dg.Definitions(
    assets=[taxi_trips_file, taxi_trips],
    resources={"database": DuckDBResource(database=dg.EnvVar("DUCKDB_DATABASE"))},
)
