-- Trips of high-volume for-hire services; a month takes the columns that it has. Grain: one trip.
-- A row that repeats the one before it is another passenger who shares the vehicle. Lyft reports
-- thousandths of a mile and no arrival, Uber left the flag of Access-A-Ride blank until 2022.
-- TLC's names of columns are in mixed case.
-- noqa: disable=capitalisation.identifiers
WITH shared AS (
    SELECT
        *,
        sign < 0 AS is_shared,
        draw(trip, 31) AS company_draw,
        CASE
            WHEN company_draw < 0.24 THEN 'HV0005'
            WHEN company_draw < 0.28 AND pickup_at < DATE '2019-11-01' THEN 'HV0002'
            WHEN company_draw < 0.31 AND pickup_at < DATE '2021-12-01' THEN 'HV0004'
            ELSE 'HV0003'
        END AS license,
        pickup_us - 1000000 * (60 + floor(540 * draw(trip, 32))::BIGINT) AS request_us,
        (meter_fare * (0.8 + 0.5 * fare_draw) * (CASE WHEN sign < 0 THEN 0.6 ELSE 1 END))::BIGINT
            AS base_fare
    FROM sample_trips($from_row, $to_row, $seed)
)

SELECT
    license AS hvfhs_license_num,
    CASE license
        WHEN 'HV0002' THEN 'B02914'
        WHEN 'HV0004' THEN 'B02800'
        WHEN 'HV0005' THEN 'B02510'
        ELSE 'B02764'
    END AS dispatching_base_num,
    CASE WHEN license = 'HV0003' THEN 'B02764' END AS originating_base_num,
    make_timestamp(request_us) AS request_datetime,
    CASE
        WHEN license <> 'HV0005'
            THEN make_timestamp(pickup_us - 1000000 * floor(60 * draw(trip, 33))::BIGINT)
    END AS on_scene_datetime,
    pickup_at AS pickup_datetime,
    make_timestamp(pickup_us + 1000000 * seconds) AS dropoff_datetime,
    pickup_zone AS PULocationID,
    dropoff_zone AS DOLocationID,
    round(driven_miles, CASE WHEN license = 'HV0005' THEN 3 ELSE 2 END) AS trip_miles,
    seconds AS trip_time,
    base_fare / 100 AS base_passenger_fare,
    tolls / 100 AS tolls,
    (base_fare * 0.0275)::BIGINT / 100 AS bcf,
    (base_fare * 0.08875)::BIGINT / 100 AS sales_tax,
    CASE WHEN NOT touches_core THEN 0 WHEN is_shared THEN 0.75 ELSE 2.75 END
        AS congestion_surcharge,
    CASE
        WHEN pickup_at >= DATE '2021-04-01' THEN CASE WHEN pays_airport_fee THEN 2.5 ELSE 0 END
    END AS airport_fee,
    CASE WHEN tip_draw < 0.18 THEN (base_fare * 0.25 * tip_size)::BIGINT / 100 ELSE 0 END AS tips,
    (base_fare * (0.6 + 0.25 * draw(trip, 34)))::BIGINT / 100 AS driver_pay,
    CASE WHEN is_shared OR draw(trip, 35) < 0.02 THEN 'Y' ELSE 'N' END AS shared_request_flag,
    CASE WHEN is_shared THEN 'Y' ELSE 'N' END AS shared_match_flag,
    CASE
        WHEN license = 'HV0003' AND pickup_at < DATE '2022-01-01' THEN ' '
        WHEN draw(trip, 36) < 0.001 THEN 'Y'
        ELSE 'N'
    END AS access_a_ride_flag,
    CASE WHEN draw(trip, 37) < 0.003 THEN 'Y' ELSE 'N' END AS wav_request_flag,
    CASE WHEN draw(trip, 38) < 0.07 THEN 'Y' ELSE 'N' END AS wav_match_flag,
    2 * cbd_fee / 100 AS cbd_congestion_fee
FROM shared
