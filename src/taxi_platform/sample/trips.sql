-- Grain: one row per trip, in the order of the file, from row from_row to before to_row. Money in
-- cents. The layouts (yellow_2009.sql and so on) give these columns the names and units of TLC's
-- files of a month.
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
        SELECT
            *,
            draw(trip_key(row_number, seed), 1) AS repeat_draw
        FROM row_numbers
    ),

    keyed AS (
        SELECT
            *,
            CASE WHEN repeat_draw < 0.005 THEN -1 ELSE 1 END AS sign,
            trip_key(row_number - (repeat_draw < 0.0052)::BIGINT, seed) AS trip
        FROM repeated
    ),

    placed AS (
        SELECT
            keyed.*,
            pickup.zone AS pickup_zone,
            dropoff.zone AS dropoff_zone,
            pickup.is_core OR dropoff.is_core AS touches_core,
            pickup.is_cbd OR dropoff.is_cbd AS touches_cbd,
            pickup.is_jfk OR pickup.is_laguardia AS pays_airport_fee,
            (pickup.is_jfk AND dropoff.is_manhattan) OR (pickup.is_manhattan AND dropoff.is_jfk)
                AS pays_jfk_flat_fare,
            pickup.is_newark OR dropoff.is_newark AS touches_newark,
            pickup.is_manhattan AND dropoff.is_manhattan AS stays_in_manhattan,
            greatest(pickup.toll_odds, dropoff.toll_odds) AS toll_odds,
            greatest(pickup.log_miles, dropoff.log_miles) AS log_miles,
            least(pickup.spread, dropoff.spread) AS spread,
            -- Receivers without a fix report 0, 0; about one trip in a hundred.
            draw(trip, 6) >= 0.009 AS has_fix,
            fold(draw(trip, 2), draw(trip, 3)) AS pickup_u,
            fold(draw(trip, 3), draw(trip, 2)) AS pickup_v,
            fold(draw(trip, 4), draw(trip, 5)) AS dropoff_u,
            fold(draw(trip, 5), draw(trip, 4)) AS dropoff_v,
            pickup.a_x + pickup_u * pickup.ab_x + pickup_v * pickup.ac_x AS pickup_x,
            pickup.a_y + pickup_u * pickup.ab_y + pickup_v * pickup.ac_y AS pickup_y,
            dropoff.a_x + dropoff_u * dropoff.ab_x + dropoff_v * dropoff.ac_x AS dropoff_x,
            dropoff.a_y + dropoff_u * dropoff.ab_y + dropoff_v * dropoff.ac_y AS dropoff_y
        FROM keyed
        INNER JOIN pickup_places AS pickup ON pickup.slot = (bits(trip, 7) & 16383)
        INNER JOIN dropoff_places AS dropoff ON dropoff.slot = (bits(trip, 8) & 16383)
    ),

    driven AS (
        SELECT
            *,
            draw(trip, 9) < 0.24 AS is_creative_mobile,
            starts_us + 1000000 * floor(3600 * draw(trip, 10))::BIGINT AS pickup_us,
            least(log_miles + spread * normal(trip, 11), 5.2) AS log_driven,
            draw(trip, 16) AS rate_draw,
            draw(trip, 17) AS payment_draw
        FROM placed
    ),

    timed AS (
        SELECT
            *,
            -- Now and then the meter's distance is lost.
            CASE WHEN draw(trip, 12) < 0.011 THEN 0.0 ELSE exp(log_driven) END AS driven_miles,
            (150 + 320 * exp(0.8 * log_driven)) * (1 + 0.27 * normal(trip, 13)) * traffic
                AS likely_seconds,
            greatest(likely_seconds::BIGINT, 12) AS seconds,
            -- Creative Mobile (vendor 1) reports tenths of a mile, VeriFone (vendor 2) hundredths.
            CASE WHEN is_creative_mobile THEN 1 ELSE 2 END AS vendor,
            CASE WHEN is_creative_mobile THEN 10 ELSE 100 END AS mile_parts,
            floor(driven_miles * mile_parts + 0.5) / mile_parts AS miles,
            CASE
                WHEN touches_newark THEN 3
                WHEN rate_draw < 0.006 THEN 5
                WHEN rate_draw < 0.010 AND is_creative_mobile THEN 99
                WHEN rate_draw < 0.0115 AND NOT stays_in_manhattan THEN 4
                WHEN pays_jfk_flat_fare THEN 2
                ELSE 1
            END AS rate_code,
            CASE
                WHEN NOT is_metered THEN 0
                WHEN sign < 0 THEN 4
                WHEN payment_draw < card_share THEN 1
                WHEN payment_draw < 0.987 THEN 2
                WHEN payment_draw < 0.994 THEN 3
                ELSE 4
            END AS payment
        FROM driven
    ),

    metered AS (
        SELECT
            *,
            rate_code = 1 OR rate_code > 3 AND rate_code <> 5 AS is_local_rate,
            draw(trip, 18) AS clock_draw,
            CASE
                WHEN clock_draw >= 0.0012 THEN seconds
                WHEN clock_draw < 0.0002 THEN -seconds
                -- A VeriFone meter that is not stopped ends its trip about a day later.
                WHEN is_creative_mobile THEN seconds
                ELSE 86400 - seconds % 1800
            END AS clocked_seconds,
            -- A unit is a fifth of a mile at speed or a minute in slow traffic.
            flag_drop + fare_unit * (floor(driven_miles * 4.6)::BIGINT + 1 + seconds // 150)
                AS meter_fare,
            draw(trip, 19) AS fare_draw,
            draw(trip, 20) AS toll_draw
        FROM timed
    ),

    fared AS (
        SELECT
            *,
            make_timestamp(pickup_us) AS pickup_at,
            make_timestamp(pickup_us + 1000000 * clocked_seconds) AS dropoff_at,
            CASE
            -- A trip sent by an app is priced beforehand, to the cent.
                WHEN NOT is_metered THEN (meter_fare * (0.85 + 0.4 * fare_draw))::BIGINT
                WHEN is_local_rate THEN meter_fare
                WHEN rate_code = 2 THEN jfk_flat_fare
                WHEN rate_code = 3 THEN meter_fare + newark_surcharge
                ELSE 1000 + 100 * floor(90 * fare_draw)::BIGINT
            END AS fare,
            CASE WHEN is_metered AND is_local_rate THEN hourly_extra ELSE 0 END AS extra,
            CASE WHEN rate_code = 3 OR rate_code = 5 THEN 0 ELSE mta_tax END AS tax,
            CASE
                WHEN stays_in_manhattan OR toll_draw >= toll_odds THEN 0
                WHEN touches_newark THEN 2 * bridge_toll
                -- Other crossings, each with its price.
                WHEN toll_draw < 0.004 THEN 200 + 25 * floor(toll_draw * 20000)::BIGINT
                ELSE bridge_toll
            END AS tolls,
            CASE WHEN is_metered AND touches_core THEN congestion_surcharge ELSE 0 END
                AS congestion,
            CASE WHEN is_metered AND pays_airport_fee THEN airport_fee ELSE 0 END AS airport,
            CASE WHEN touches_cbd THEN cbd_congestion_fee ELSE 0 END AS cbd_fee,
            draw(trip, 22) AS tip_draw,
            draw(trip, 23) AS tip_size
        FROM metered
    ),

    tipped AS (
        SELECT
            *,
            fare + extra + tax + tolls + improvement_surcharge + congestion + cbd_fee + airport
                AS before_tip,
            -- Only tips by card are known. Most follow the buttons of the screen, a third are whole
            -- dollars.
            CASE
                WHEN payment > 1 OR tip_draw < 0.045 OR (NOT is_metered AND tip_draw < 0.6) THEN 0
                WHEN tip_draw < 0.64
                    THEN
                        before_tip
                        * ([15, 18, 20, 20, 20, 20, 25, 30])[1 + floor(8 * tip_size)::INTEGER]
                        // 100
                WHEN tip_draw < 0.93 THEN 100 * (1 + floor(tip_size * before_tip)::BIGINT // 700)
                ELSE floor(tip_size * before_tip)::BIGINT // 3
            END AS tip,
            draw(trip, 24) AS passenger_draw
        FROM fared
    )

    SELECT
        *,
        before_tip + tip AS total,
        CASE
            WHEN passenger_draw < 0.04 AND is_creative_mobile THEN 0
            WHEN passenger_draw < 0.74 THEN 1
            WHEN passenger_draw < 0.89 THEN 2
            WHEN passenger_draw < 0.93 THEN 3
            WHEN passenger_draw < 0.955 THEN 4
            WHEN passenger_draw < 0.98 THEN 5
            ELSE 6
        END AS passengers,
        is_creative_mobile AND draw(trip, 25) < 0.006 AS was_stored
    FROM tipped;
