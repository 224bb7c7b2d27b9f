-- What is odd about the trips of one file. Grain: one row.
-- $first: the first day of the file's month. $end: the first day of the next.
SELECT
    COUNT(*) FILTER (WHERE pickup_date < $first OR pickup_date >= $end OR pickup_date IS NULL)
        AS "pickups outside the month",
    COUNT(*) FILTER (WHERE total_amount < 0) AS "negative totals",
    COUNT(*) FILTER (WHERE total_amount = 0) AS "zero totals",
    COUNT(*) FILTER (WHERE dropoff_datetime < pickup_datetime) AS "drop-offs before the pickup",
    COUNT(*) FILTER (WHERE dropoff_datetime > pickup_datetime + INTERVAL '24' HOUR)
        AS "trips over 24 hours",
    COUNT(*) FILTER (WHERE trip_distance > 200) AS "distances over 200 miles",
    COUNT(*) FILTER (WHERE pickup_zone_id IS NULL OR pickup_zone_id IN (264, 265))
        AS "unknown pickup zones",
    COUNT(*) FILTER (WHERE dropoff_zone_id IS NULL OR dropoff_zone_id IN (264, 265))
        AS "unknown drop-off zones",
    COUNT(*) FILTER (WHERE passenger_count IS NULL) AS "unknown passenger counts"
FROM read_parquet($file)
