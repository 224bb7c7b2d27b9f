-- Yellow trips of 2010: text datetimes and codes, points instead of zones. Grain: one trip.
SELECT
    CASE
        WHEN vendor = 2 THEN 'VTS'
        WHEN draw(trip, 30) < 0.15 THEN 'DDS'
        ELSE 'CMT'
    END AS vendor_id,
    clock_text(vendor, pickup_at) AS pickup_datetime,
    clock_text(vendor, dropoff_at) AS dropoff_datetime,
    passengers AS passenger_count,
    miles AS trip_distance,
    CASE WHEN has_fix THEN round(pickup_x, 6) ELSE 0 END AS pickup_longitude,
    CASE WHEN has_fix THEN round(pickup_y, 6) ELSE 0 END AS pickup_latitude,
    least(rate_code, 6)::VARCHAR AS rate_code,
    CASE WHEN vendor = 1 THEN was_stored::INTEGER::VARCHAR END AS store_and_fwd_flag,
    CASE WHEN has_fix THEN round(dropoff_x, 6) ELSE 0 END AS dropoff_longitude,
    CASE WHEN has_fix THEN round(dropoff_y, 6) ELSE 0 END AS dropoff_latitude,
    ['CRE', 'CAS', 'NOC', 'DIS'][payment] AS payment_type,
    sign * fare / 100 AS fare_amount,
    sign * extra / 100 AS surcharge,
    sign * tax / 100 AS mta_tax,
    sign * tip / 100 AS tip_amount,
    sign * tolls / 100 AS tolls_amount,
    sign * total / 100 AS total_amount,
    row_number AS __index_level_0__
FROM sample_trips($from_row, $to_row, $seed)
