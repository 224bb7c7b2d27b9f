-- Green trips from 2014 on; a month takes the columns that it has. Grain: one trip. trip_type 1 is
-- a hail on the street, 2 a dispatch. ehail_fee was never charged and is always unknown.
-- TLC's names of columns are in mixed case.
-- noqa: disable=capitalisation.identifiers
SELECT
    vendor AS VendorID,
    pickup_at AS lpep_pickup_datetime,
    dropoff_at AS lpep_dropoff_datetime,
    CASE WHEN is_metered THEN CASE WHEN was_stored THEN 'Y' ELSE 'N' END END AS store_and_fwd_flag,
    CASE WHEN is_metered THEN rate_code END AS RatecodeID,
    pickup_zone AS PULocationID,
    dropoff_zone AS DOLocationID,
    CASE WHEN is_metered THEN passengers END AS passenger_count,
    miles AS trip_distance,
    sign * fare / 100 AS fare_amount,
    sign * extra / 100 AS extra,
    sign * tax / 100 AS mta_tax,
    sign * tip / 100 AS tip_amount,
    sign * tolls / 100 AS tolls_amount,
    NULL::DOUBLE AS ehail_fee,
    sign * improvement_surcharge / 100 AS improvement_surcharge,
    sign * total / 100 AS total_amount,
    CASE WHEN is_metered THEN payment END AS payment_type,
    CASE WHEN is_metered THEN CASE WHEN rate_code = 5 THEN 2 ELSE 1 END END AS trip_type,
    CASE WHEN is_metered THEN sign * congestion / 100 END AS congestion_surcharge,
    sign * cbd_fee / 100 AS cbd_congestion_fee,
    CASE WHEN is_metered THEN 'street' ELSE 'app' END AS request_source
FROM sample_trips($from_row, $to_row, $seed)
