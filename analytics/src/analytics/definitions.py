"""Everything that the analytics team gives to the platform."""

import dagster as dg

from analytics.defs import jobs, manhattan, upstream, weekly
from analytics.defs.resources import resources
from taxi_shared.ownership import owned_by

defs = dg.Definitions(
    assets=[
        *owned_by(
            "analytics",
            [weekly.trips_by_week, manhattan.manhattan_stats, manhattan.manhattan_map],
        ),
        upstream.taxi_trips,
        upstream.taxi_zones,
    ],
    jobs=[jobs.weekly_update_job, jobs.manhattan_update_job],
    schedules=[jobs.weekly_update_schedule],
    sensors=[jobs.analytics_automation_sensor],
    resources=resources(),
    # A process a step would cost more than most steps do.
    executor=dg.in_process_executor,
)
