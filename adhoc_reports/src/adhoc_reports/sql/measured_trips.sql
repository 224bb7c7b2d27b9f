-- Trips of an area and period and the sums of a measure, by the keys of a report.
-- Grain: one row for each combination of the keys that has a trip. The area is that of the pickups
-- or drop-offs; days, hours and weekdays are always those of the pickup. The value of a measure is
-- sum_numerator over sum_denominator, of the num_used trips that have a usable value. Days of
-- months that are not loaded are left out, as in adhoc_request.sql.
SELECT
    {keys},
    COUNT(*) AS num_trips,
    CAST(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS BIGINT) AS num_used,
    CAST(SUM(CASE WHEN {condition} THEN {numerator} ELSE 0 END) AS DECIMAL(18, 2)) AS sum_numerator,
    CAST(SUM(CASE WHEN {condition} THEN {denominator} ELSE 0 END) AS DECIMAL(18, 2))
        AS sum_denominator
FROM {trips} AS trips
WHERE
    trips.pickup_date >= $start_date
    AND trips.pickup_date < $end_date
    AND trips.pickup_date IN (
        SELECT trip_days.pickup_date FROM {days} AS trip_days
        WHERE
            trip_days.pickup_date >= $start_date
            AND trip_days.pickup_date < $end_date
            AND EXTRACT(YEAR FROM trip_days.pickup_date) * 12
            + EXTRACT(MONTH FROM trip_days.pickup_date) IN (
                SELECT
                    EXTRACT(YEAR FROM loaded.partition_date) * 12
                    + EXTRACT(MONTH FROM loaded.partition_date)
                FROM {days} AS loaded
            )
    )
    AND trips.{side}_zone_id IN (
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
GROUP BY {group_by}
ORDER BY {order_by}
