-- Trips of a month's file of days that were picked up in another month, or without a date: one row.
SELECT coalesce(sum(num_trips), 0) AS num_trips
FROM read_parquet($file, hive_partitioning = FALSE)
WHERE pickup_date IS NULL OR date_trunc('month', pickup_date) <> CAST($month AS DATE)
