-- Grain: one run of neighbouring rows of the file whose pickups fall in the same hour, with that
-- hour's prices and traffic. Stored by row, which is the order of the file. Money in cents.
CREATE TABLE pickup_hours AS
SELECT
    hours.first_row,
    hours.next_row,
    epoch_us(hours.starts_at) AS starts_us,
    hours.is_metered,
    flag_drop,
    fare_unit,
    jfk_flat_fare,
    newark_surcharge,
    bridge_toll,
    mta_tax,
    improvement_surcharge,
    cbd_congestion_fee,
    card_share,
    CASE WHEN $service = 'green' THEN 0 ELSE airport_fee END AS airport_fee,
    CASE
        WHEN $service = 'green' THEN green_congestion_surcharge
        ELSE yellow_congestion_surcharge
    END AS congestion_surcharge,
    CASE
        WHEN hour(starts_at) >= 20 OR hour(starts_at) < 6 THEN overnight_extra
        WHEN hour(starts_at) >= 16 AND isodow(starts_at) <= 5 THEN rush_hour_extra
        ELSE 0
    END AS hourly_extra,
    -- A night's ride takes two thirds of a working day's.
    CASE
        WHEN hour(starts_at) < 6 THEN 0.72
        WHEN hour(starts_at) BETWEEN 8 AND 18 THEN 1.12
        ELSE 0.95
    END::DOUBLE AS traffic
FROM hours ASOF JOIN tariffs ON hours.starts_at >= tariffs.since
ORDER BY hours.first_row;
