-- Grain: one run of neighbouring rows of the file whose pickups fall in the same hour, with that day's prices.
-- Stored by row, which is the order of the file.
CREATE TABLE pickup_hours AS
SELECT
    hours.*,
    tariffs.* EXCLUDE (since, yellow_congestion_surcharge, green_congestion_surcharge),
    CASE WHEN $service = 'green' THEN green_congestion_surcharge ELSE yellow_congestion_surcharge END
        AS congestion_surcharge
FROM hours ASOF JOIN tariffs ON hours.starts_at >= tariffs.since
ORDER BY hours.first_row;
