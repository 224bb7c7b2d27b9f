-- One row a week in which trips began; a week is the Sunday that begins it.
-- Trips count in the week of their pickup, whichever month's file holds them.
-- $start: the first week. $end: the Sunday after the last.
SELECT
    week_start AS period,
    COUNT(*) AS num_trips,
    COALESCE(SUM(total_amount), 0) AS total_amount,
    COALESCE(SUM(trip_distance), 0) AS trip_distance,
    COALESCE(SUM(passenger_count), 0) AS passenger_count
FROM trips
WHERE week_start >= $start AND week_start < $end
GROUP BY week_start
ORDER BY week_start
