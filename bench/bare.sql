-- A month of TLC's yellow trips with the columns and types of the platform's lake.
-- Grain: one row per trip, in the order of the file. Only later months have the columns in braces.
-- TLC's column names are in mixed case.
-- noqa: disable=capitalisation.identifiers
SELECT
    CAST(VendorID AS INTEGER) AS vendor_id,
    tpep_pickup_datetime AS pickup_datetime,
    tpep_dropoff_datetime AS dropoff_datetime,
    CAST(passenger_count AS INTEGER) AS passenger_count,
    CAST(trip_distance AS DECIMAL(12, 2)) AS trip_distance,
    CAST(RatecodeID AS INTEGER) AS rate_code_id,
    store_and_fwd_flag,
    CAST(PULocationID AS INTEGER) AS pickup_zone_id,
    CAST(DOLocationID AS INTEGER) AS dropoff_zone_id,
    CAST(payment_type AS INTEGER) AS payment_type,
    CAST(fare_amount AS DECIMAL(12, 2)) AS fare_amount,
    CAST(extra AS DECIMAL(12, 2)) AS extra,
    CAST(mta_tax AS DECIMAL(12, 2)) AS mta_tax,
    CAST(tip_amount AS DECIMAL(12, 2)) AS tip_amount,
    CAST(tolls_amount AS DECIMAL(12, 2)) AS tolls_amount,
    CAST(improvement_surcharge AS DECIMAL(12, 2)) AS improvement_surcharge,
    CAST(total_amount AS DECIMAL(12, 2)) AS total_amount,
    CAST(congestion_surcharge AS DECIMAL(12, 2)) AS congestion_surcharge,
    CAST(airport_fee AS DECIMAL(12, 2)) AS airport_fee,
    CAST({cbd_congestion_fee} AS DECIMAL(12, 2)) AS cbd_congestion_fee,
    CAST({request_source} AS VARCHAR) AS request_source,
    CAST(NULL AS DOUBLE) AS pickup_longitude,
    CAST(NULL AS DOUBLE) AS pickup_latitude,
    CAST(NULL AS DOUBLE) AS dropoff_longitude,
    CAST(NULL AS DOUBLE) AS dropoff_latitude,
    CAST(tpep_pickup_datetime AS DATE) AS pickup_date,
    CAST(EXTRACT(HOUR FROM tpep_pickup_datetime) AS INTEGER) AS pickup_hour,
    CAST(EXTRACT(DOW FROM tpep_pickup_datetime) AS INTEGER) AS pickup_weekday,
    CAST(tpep_pickup_datetime AS DATE)
    - CAST(EXTRACT(DOW FROM tpep_pickup_datetime) AS INTEGER) AS week_start
FROM read_parquet($file)
