-- One row per week (`2023-03-05`) in which trips began; a week is the Sunday that begins it.
-- Trips count in the week of their pickup, whichever month's file holds them. A sum of money or
-- miles is NULL where no trip of the week has a value.
-- $start_date: the first week. $end_date: the Sunday after the last.
SELECT
    week_start AS period,
    COUNT(*) AS num_trips,
    SUM(total_amount) AS total_amount,
    SUM(trip_distance) AS trip_distance,
    COALESCE(SUM(passenger_count), 0) AS passenger_count,
    COUNT(*) - COUNT(total_amount) AS num_without_amount,
    COUNT(*) - COUNT(trip_distance) AS num_without_distance
FROM trips
WHERE week_start >= $start_date AND week_start < $end_date
GROUP BY week_start
ORDER BY week_start
