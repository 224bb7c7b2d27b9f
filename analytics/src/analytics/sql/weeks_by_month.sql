-- The weeks in which trips of a month's file began, as text. DuckDB's dialect.
-- Grain: one row per month (`2023-03-01`) and week (`2023-02-26`).
-- $months: the months. $first: the first week that counts; $last: the last day that counts. A taxi
-- meter may say year 1 or 10000, and DuckDB has `infinity` and years BC: none is a Python date.
SELECT DISTINCT
    CAST(partition_date AS VARCHAR) AS month,
    CAST(pickup_date - CAST(EXTRACT(DOW FROM pickup_date) AS INTEGER) AS VARCHAR) AS week
FROM trip_days
WHERE
    list_contains($months, CAST(partition_date AS VARCHAR))
    AND pickup_date >= $first
    AND pickup_date <= $last
ORDER BY month, week
