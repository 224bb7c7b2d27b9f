-- Grain: one trip, in the order of the file, for the rows from from_row to before to_row. Money in cents.
-- The layouts (yellow_2009.sql and so on) give these columns the names and types that TLC used in a month.
CREATE MACRO sample_trips(from_row, to_row, seed) AS TABLE
WITH row_numbers AS (
    SELECT
        pickup_hours.* EXCLUDE (first_row, next_row),
        unnest(range(greatest(first_row, from_row), least(next_row, to_row))) AS row_number
    FROM pickup_hours
    WHERE first_row < to_row AND next_row > from_row
),
-- A refund repeats the trip before it with the amounts negated; a few rows repeat it unchanged.
repeated AS (
    SELECT *, draw(trip_key(row_number, seed), 1) AS repeat_draw FROM row_numbers
),
keyed AS (
    SELECT
        *,
        repeat_draw < 0.005 AS is_refund,
        trip_key(row_number - (repeat_draw < 0.0052)::BIGINT, seed) AS trip
    FROM repeated
),
placed AS (
    SELECT
        keyed.*,
        pickup.zone AS pickup_zone,
        dropoff.zone AS dropoff_zone,
        pickup.area AS pickup_area,
        dropoff.area AS dropoff_area,
        pickup.is_core OR dropoff.is_core AS touches_core,
        pickup.is_cbd OR dropoff.is_cbd AS touches_cbd,
        pickup.area IN ('jfk', 'laguardia', 'newark') OR dropoff.area IN ('jfk', 'laguardia', 'newark') AS at_airport,
        -- The square's half beyond the diagonal is folded back, for points spread evenly over the triangle.
        CASE WHEN draw(trip, 2) + draw(trip, 3) > 1 THEN 1 - draw(trip, 2) ELSE draw(trip, 2) END AS pickup_u,
        CASE WHEN draw(trip, 2) + draw(trip, 3) > 1 THEN 1 - draw(trip, 3) ELSE draw(trip, 3) END AS pickup_v,
        CASE WHEN draw(trip, 4) + draw(trip, 5) > 1 THEN 1 - draw(trip, 4) ELSE draw(trip, 4) END AS dropoff_u,
        CASE WHEN draw(trip, 4) + draw(trip, 5) > 1 THEN 1 - draw(trip, 5) ELSE draw(trip, 5) END AS dropoff_v,
        -- Receivers without a fix report 0, 0; about one trip in a hundred.
        draw(trip, 6) >= 0.009 AS has_fix,
        pickup.a_x + pickup_u * pickup.ab_x + pickup_v * pickup.ac_x AS pickup_x,
        pickup.a_y + pickup_u * pickup.ab_y + pickup_v * pickup.ac_y AS pickup_y,
        dropoff.a_x + dropoff_u * dropoff.ab_x + dropoff_v * dropoff.ac_x AS dropoff_x,
        dropoff.a_y + dropoff_u * dropoff.ab_y + dropoff_v * dropoff.ac_y AS dropoff_y
    FROM keyed
    JOIN pickup_places AS pickup ON pickup.slot = (bits(trip, 7) & 16383)::BIGINT
    JOIN dropoff_places AS dropoff ON dropoff.slot = (bits(trip, 8) & 16383)::BIGINT
),
driven AS (
    SELECT
        *,
        CASE WHEN draw(trip, 9) < 0.24 THEN 1 ELSE 2 END AS vendor,
        hour(starts_at) AS pickup_hour,
        isodow(starts_at) AS pickup_isodow,
        starts_at + to_seconds((draw(trip, 10) * 3600)::INTEGER % 3600) AS pickup_at,
        CASE
            WHEN draw(trip, 11) < 0.011 THEN 0.0
            ELSE least(180.0, exp(
                CASE
                    WHEN pickup_area = 'jfk' OR dropoff_area = 'jfk' THEN 2.80 + 0.17 * normal(trip, 12)
                    WHEN pickup_area = 'newark' OR dropoff_area = 'newark' THEN 2.86 + 0.15 * normal(trip, 12)
                    WHEN pickup_area = 'laguardia' OR dropoff_area = 'laguardia' THEN 2.27 + 0.25 * normal(trip, 12)
                    WHEN pickup_area = 'manhattan' AND dropoff_area = 'manhattan'
                        THEN 0.42 + 0.64 * normal(trip, 12)
                    ELSE 1.40 + 0.70 * normal(trip, 12)
                END
            ))
        END AS driven_miles
    FROM placed
),
timed AS (
    SELECT
        *,
        -- Creative Mobile's meters (1) report tenths of a mile, VeriFone's (2) hundredths.
        CASE WHEN vendor = 1 THEN round(driven_miles, 1) ELSE round(driven_miles, 2) END AS miles,
        greatest(12, (
            (150 + 320 * driven_miles ** 0.8)
            * exp(0.28 * normal(trip, 14))
            * CASE WHEN pickup_hour < 6 THEN 0.72 WHEN pickup_hour BETWEEN 8 AND 18 THEN 1.12 ELSE 0.95 END
        )::BIGINT) AS seconds,
        CASE
            WHEN pickup_area = 'newark' OR dropoff_area = 'newark' THEN 3
            WHEN draw(trip, 16) < 0.006 THEN 5
            WHEN draw(trip, 16) < 0.010 AND vendor = 1 THEN 99
            WHEN draw(trip, 16) < 0.0115 AND touches_core AND pickup_area <> dropoff_area THEN 4
            WHEN 'manhattan' IN (pickup_area, dropoff_area) AND 'jfk' IN (pickup_area, dropoff_area) THEN 2
            ELSE 1
        END AS rate_code,
        CASE
            WHEN NOT is_metered THEN 0
            WHEN is_refund THEN 4
            WHEN draw(trip, 17) < card_share THEN 1
            WHEN draw(trip, 17) < 0.987 THEN 2
            WHEN draw(trip, 17) < 0.994 THEN 3
            ELSE 4
        END AS payment
    FROM driven
),
metered AS (
    SELECT
        *,
        pickup_at + to_seconds(
            CASE
                WHEN draw(trip, 18) < 0.0002 THEN -seconds
                -- A VeriFone meter that nobody stopped closes its trip about a day later.
                WHEN draw(trip, 18) < 0.0012 AND vendor = 2 THEN 86400 - seconds % 1800
                ELSE seconds
            END
        ) AS dropoff_at,
        -- A unit is a fifth of a mile at speed or a minute in slow traffic.
        flag_drop + fare_unit * (ceil(driven_miles * 4.6) + seconds // 150)::BIGINT AS meter_fare
    FROM timed
),
fared AS (
    SELECT
        *,
        CASE
            -- A trip sent by an app is priced beforehand, to the cent.
            WHEN NOT is_metered THEN (meter_fare * (0.85 + 0.4 * draw(trip, 19)))::BIGINT
            WHEN rate_code = 2 THEN jfk_flat_fare
            WHEN rate_code = 3 THEN meter_fare + newark_surcharge
            WHEN rate_code = 5 THEN 1000 + 100 * (draw(trip, 19) * 90)::BIGINT
            ELSE meter_fare
        END AS fare,
        CASE
            WHEN NOT is_metered OR rate_code IN (2, 3, 5) THEN 0
            WHEN pickup_hour >= 20 OR pickup_hour < 6 THEN overnight_extra
            WHEN pickup_hour BETWEEN 16 AND 19 AND pickup_isodow <= 5 THEN rush_hour_extra
            ELSE 0
        END AS extra,
        CASE WHEN rate_code IN (3, 5) THEN 0 ELSE mta_tax END AS tax,
        CASE
            WHEN rate_code = 3 THEN CASE WHEN draw(trip, 20) < 0.85 THEN 2 * bridge_toll ELSE 0 END
            WHEN at_airport THEN CASE WHEN draw(trip, 20) < 0.42 THEN bridge_toll ELSE 0 END
            WHEN pickup_area = dropoff_area THEN CASE WHEN draw(trip, 20) < 0.002 THEN bridge_toll ELSE 0 END
            WHEN draw(trip, 20) < 0.06 THEN bridge_toll
            WHEN draw(trip, 20) < 0.063 THEN 200 + 25 * (draw(trip, 21) * 100)::BIGINT
            ELSE 0
        END AS tolls,
        CASE WHEN touches_core THEN congestion_surcharge ELSE 0 END AS congestion,
        CASE WHEN touches_cbd THEN cbd_congestion_fee ELSE 0 END AS cbd_fee,
        CASE WHEN is_metered AND pickup_area IN ('jfk', 'laguardia') THEN airport_fee ELSE 0 END AS airport
    FROM metered
),
tipped AS (
    SELECT
        *,
        fare + extra + tax + tolls + improvement_surcharge + congestion + cbd_fee + airport AS before_tip,
        -- Only tips by card are known. Most follow the buttons of the screen, a third are whole dollars.
        CASE
            WHEN payment > 1 OR draw(trip, 22) < 0.045 OR NOT is_metered AND draw(trip, 22) < 0.6 THEN 0
            WHEN draw(trip, 22) < 0.64 THEN
                before_tip * ([15, 18, 20, 20, 20, 20, 25, 30])[1 + (draw(trip, 23) * 8)::INTEGER % 8] // 100
            WHEN draw(trip, 22) < 0.93 THEN 100 * (1 + (draw(trip, 23) * before_tip)::BIGINT // 700)
            ELSE (draw(trip, 23) * before_tip)::BIGINT // 3
        END AS tip
    FROM fared
)
SELECT
    *,
    CASE WHEN is_refund THEN -1 ELSE 1 END AS sign,
    before_tip + tip AS total,
    CASE
        WHEN vendor = 1 AND draw(trip, 24) < 0.04 THEN 0
        WHEN draw(trip, 24) < 0.74 THEN 1
        WHEN draw(trip, 24) < 0.89 THEN 2
        WHEN draw(trip, 24) < 0.93 THEN 3
        WHEN draw(trip, 24) < 0.955 THEN 4
        WHEN draw(trip, 24) < 0.98 THEN 5
        ELSE 6
    END AS passengers,
    draw(trip, 25) < 0.006 AND vendor = 1 AS was_stored
FROM tipped;
