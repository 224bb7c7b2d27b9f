-- Yellow trips from 2011 on; a month takes the columns that it has. Grain: one trip. A trip that
-- came through an app has no passenger count, rate code, flag, congestion surcharge or airport fee.
-- TLC's names of columns are in mixed case.
-- noqa: disable=capitalisation.identifiers
SELECT
    CASE WHEN NOT is_metered AND draw(trip, 30) < 0.05 THEN 6 ELSE vendor END AS VendorID,
    pickup_at AS tpep_pickup_datetime,
    dropoff_at AS tpep_dropoff_datetime,
    CASE WHEN is_metered THEN passengers END AS passenger_count,
    miles AS trip_distance,
    CASE WHEN is_metered THEN rate_code END AS RatecodeID,
    CASE WHEN is_metered THEN CASE WHEN was_stored THEN 'Y' ELSE 'N' END END AS store_and_fwd_flag,
    pickup_zone AS PULocationID,
    dropoff_zone AS DOLocationID,
    payment AS payment_type,
    sign * fare / 100 AS fare_amount,
    sign * extra / 100 AS extra,
    sign * tax / 100 AS mta_tax,
    sign * tip / 100 AS tip_amount,
    sign * tolls / 100 AS tolls_amount,
    sign * improvement_surcharge / 100 AS improvement_surcharge,
    sign * total / 100 AS total_amount,
    CASE WHEN is_metered THEN sign * congestion / 100 END AS congestion_surcharge,
    CASE WHEN is_metered THEN sign * airport / 100 END AS airport_fee,
    sign * cbd_fee / 100 AS cbd_congestion_fee,
    CASE WHEN is_metered THEN 'street' ELSE 'app' END AS request_source
FROM sample_trips($from_row, $to_row, $seed)
