-- The trips of a period, wherever they were, by the month of the file that holds them.
-- Grain: one row for each month whose file has a pickup in the period. A file has a few trips of
-- days of other months; where these months are not loaded, such trips are not counted. Trips
-- without a pickup time are of no period; each month whose file has them counts them.
WITH loaded AS (
    SELECT DISTINCT
        EXTRACT(YEAR FROM months.partition_date) * 12
        + EXTRACT(MONTH FROM months.partition_date) AS month_number
    FROM {days} AS months
)

SELECT
    trip_days.partition_date AS month,
    SUM(CASE WHEN trip_days.pickup_date IS NULL THEN 0 ELSE trip_days.num_trips END) AS num_trips,
    SUM(
        CASE WHEN loaded.month_number IS NULL THEN 0 ELSE trip_days.num_unknown_{side}_zones END
    ) AS num_unknown_zones,
    SUM(
        CASE
            WHEN trip_days.pickup_date IS NULL OR loaded.month_number IS NOT NULL THEN 0
            ELSE trip_days.num_trips
        END
    ) AS num_not_loaded,
    SUM(CASE WHEN trip_days.pickup_date IS NULL THEN trip_days.num_trips ELSE 0 END) AS num_untimed
FROM {days} AS trip_days
LEFT JOIN loaded
    ON
        loaded.month_number
        = EXTRACT(YEAR FROM trip_days.pickup_date) * 12
        + EXTRACT(MONTH FROM trip_days.pickup_date)
WHERE
    (trip_days.pickup_date >= $start_date AND trip_days.pickup_date < $end_date)
    OR trip_days.pickup_date IS NULL
GROUP BY trip_days.partition_date
HAVING SUM(CASE WHEN trip_days.pickup_date IS NULL THEN 0 ELSE 1 END) > 0
ORDER BY month
