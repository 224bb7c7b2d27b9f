-- Trips and amounts by day of pickup, as ingestion counted them when it loaded the months.
-- $start_date: the first day. $end_date: the day after the last.
SELECT
    pickup_date,
    SUM(num_trips) AS num_trips,
    SUM(total_amount) AS total_amount
FROM trip_days
WHERE pickup_date >= $start_date AND pickup_date < $end_date
GROUP BY pickup_date
