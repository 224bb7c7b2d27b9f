"""The analytics team's jobs, its weekly schedule, and its automation sensor."""

import dagster as dg

from analytics.lib import weeks
from taxi_shared import keys
from taxi_shared.automation import automation_sensor
from taxi_shared.partitions import monthly, weekly
from taxi_shared.ranges import has_unfinished_run, run_requests

LOCATION = "analytics"

weekly_update_job = dg.define_asset_job(
    "weekly_update_job",
    selection=[keys.TRIPS_BY_WEEK],
    description="Computes the figures of a week, or of a range of weeks.",
)

manhattan_update_job = dg.define_asset_job(
    "manhattan_update_job",
    selection=[keys.MANHATTAN_STATS, keys.MANHATTAN_MAP],
    description="Counts Manhattan's trips by zone and draws the map.",
)

# The condition of weeks reads the lake.
analytics_automation_sensor = automation_sensor(
    LOCATION, interval_seconds=10, use_user_code_server=True
)


@dg.schedule(job=weekly_update_job, cron_schedule="0 0 * * 1")
def weekly_update_schedule(
    context: dg.ScheduleEvaluationContext,
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run per range of missing weeks whose months are all loaded."""
    if has_unfinished_run(context.instance, LOCATION, keys.TRIPS_BY_WEEK, weekly_update_job.name):
        return dg.SkipReason("A run of trips_by_week is queued or in progress.")
    now = context.scheduled_execution_time
    weeks_so_far = weekly().get_partition_keys(current_time=now)
    plan = weeks.plan_weeks(
        set(weeks_so_far),
        context.instance.get_materialized_partitions(keys.TRIPS_BY_WEEK),
        context.instance.get_materialized_partitions(keys.TAXI_TRIPS),
        first_month=monthly().start.date().isoformat(),
    )
    if not plan.ready:
        return dg.SkipReason(plan.reason_to_wait)
    return run_requests(plan.ready, weeks_so_far, f"{now:%Y-%m-%d}")
