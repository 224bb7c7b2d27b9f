-- Pickups of an area and period by hour and day of week.
-- Grain: one row for each hour of day (0 to 23) and day of week (0 Sunday to 6 Saturday) that has a
-- pickup; at most 168 rows. The area is a condition and not a join, so a zone that is listed
-- twice counts a trip once. Days of months that are not loaded are left out: other months' files
-- have a few trips of them, too few for an average. Every pickup day of trips is in trip_days.
SELECT
    trips.pickup_hour AS hour_of_day,
    trips.pickup_weekday AS day_of_week,
    COUNT(*) AS num_trips
FROM trips
WHERE
    trips.pickup_date >= $start_date
    AND trips.pickup_date < $end_date
    AND trips.pickup_date IN (
        SELECT trip_days.pickup_date FROM trip_days
        WHERE
            trip_days.pickup_date >= $start_date
            AND trip_days.pickup_date < $end_date
            AND EXTRACT(YEAR FROM trip_days.pickup_date) * 12
            + EXTRACT(MONTH FROM trip_days.pickup_date) IN (
                SELECT
                    EXTRACT(YEAR FROM loaded.partition_date) * 12
                    + EXTRACT(MONTH FROM loaded.partition_date)
                FROM trip_days AS loaded
            )
    )
    AND trips.pickup_zone_id IN (
        SELECT zones.zone_id FROM zones
        WHERE
            (
                zones.borough = $borough
                OR (
                    $borough = 'New York City'
                    AND zones.borough IN (
                        'Bronx', 'Brooklyn', 'Manhattan', 'Queens', 'Staten Island'
                    )
                )
            )
            AND ($zone = '' OR zones.zone = $zone)
    )
GROUP BY trips.pickup_hour, trips.pickup_weekday
ORDER BY hour_of_day, day_of_week
