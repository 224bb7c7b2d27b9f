-- One row per zone of a borough, by id, with its shape as WKT and its trips by zone of pickup.
-- Trips without a pickup zone do not count.
-- $borough: the borough.
WITH pickups AS (
    SELECT
        pickup_zone_id,
        COUNT(pickup_zone_id) AS num_trips
    FROM trips
    GROUP BY pickup_zone_id
)

SELECT
    zones.zone,
    zones.borough,
    zones.geometry,
    COALESCE(pickups.num_trips, 0) AS num_trips
FROM zones
LEFT JOIN pickups ON zones.zone_id = pickups.pickup_zone_id
WHERE zones.borough = $borough
ORDER BY zones.zone_id
