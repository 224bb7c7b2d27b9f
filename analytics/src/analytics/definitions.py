"""Everything that the analytics team gives to the platform."""

import dagster as dg

from analytics.defs import jobs, manhattan, upstream, weekly
from analytics.defs.resources import resources

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([upstream, weekly, manhattan], include_specs=True),
    jobs=[jobs.weekly_update_job, jobs.trip_update_job],
    schedules=[jobs.weekly_update_schedule],
    sensors=[jobs.analytics_automation_sensor],
    resources=resources(),
    # A process a step would cost more than most steps do.
    executor=dg.in_process_executor,
)
