-- Trips of for-hire vehicles, without amounts. Grain: one trip. Bases have reported the end of a
-- trip since 2017, and the zone of many trips never. Some pad their number with blanks.
-- TLC's names of columns are in mixed case.
-- noqa: disable=capitalisation.identifiers
SELECT
    'B' || lpad((1 + bits(trip, 30) % 3400)::VARCHAR, 5, '0')
    || CASE WHEN draw(trip, 31) < 0.01 THEN '         ' ELSE '' END AS dispatching_base_num,
    pickup_at AS pickup_datetime,
    CASE WHEN pickup_at >= DATE '2017-01-01' THEN dropoff_at END AS dropOff_datetime,
    CASE WHEN draw(trip, 32) < 0.6 THEN pickup_zone END AS PUlocationID,
    CASE WHEN pickup_at >= DATE '2017-01-01' AND draw(trip, 33) < 0.8 THEN dropoff_zone END
        AS DOlocationID,
    CASE WHEN pickup_at < DATE '2019-02-01' AND draw(trip, 34) < 0.15 THEN 1 END AS SR_Flag,
    CASE
        WHEN draw(trip, 35) < 0.9 THEN 'B' || lpad((1 + bits(trip, 30) % 3400)::VARCHAR, 5, '0')
    END AS Affiliated_base_number
FROM sample_trips($from_row, $to_row, $seed)
