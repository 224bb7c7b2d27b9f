-- One row a pickup zone in which trips began; trips without a pickup zone do not count.
SELECT
    pickup_zone_id AS zone_id,
    COUNT(*) AS num_trips
FROM trips
WHERE pickup_zone_id IS NOT NULL
GROUP BY pickup_zone_id
