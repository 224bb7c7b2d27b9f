"""All definitions of the analytics code location."""

import dagster as dg

import taxi_shared.process  # noqa: F401 - sets up the garbage collector
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
    # Most steps take less time than the start of a process.
    executor=dg.in_process_executor,
)
