"""The analytics team's jobs, the schedule that makes missing weeks, and its automation sensor."""

import dagster as dg

from analytics.lib import weeks
from taxi_shared import keys
from taxi_shared.partitions import monthly, weekly

# Dagster reads these tags of a run as its range of partitions; it exports no names for them.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

weekly_update_job = dg.define_asset_job(
    "weekly_update_job",
    selection=[keys.TRIPS_BY_WEEK],
    description="Makes the figures of a week, or of a range of weeks.",
)

trip_update_job = dg.define_asset_job(
    "trip_update_job",
    selection=[keys.MANHATTAN_STATS, keys.MANHATTAN_MAP],
    description="Counts Manhattan's trips by zone and draws the map.",
)

analytics_automation_sensor = dg.AutomationConditionSensorDefinition(
    "analytics_automation_sensor",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)


@dg.schedule(job=weekly_update_job, cron_schedule="0 0 * * 1")
def weekly_update_schedule(
    context: dg.ScheduleEvaluationContext,
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each stretch of weeks that are missing and whose months are loaded."""
    now = context.scheduled_execution_time
    outlook = weeks.outlook(
        weekly().get_partition_keys(current_time=now),
        context.instance.get_materialized_partitions(keys.TRIPS_BY_WEEK),
        context.instance.get_materialized_partitions(keys.TAXI_TRIPS),
        first_month=monthly().start.date().isoformat(),
    )
    if not outlook.ready:
        return dg.SkipReason(outlook.reason_to_wait)
    return [
        run_request(first, last, f"{now:%Y-%m-%d}")
        for first, last in weeks.stretches(outlook.ready)
    ]


def run_request(first: str, last: str, day: str) -> dg.RunRequest:
    """One run for the weeks from `first` to `last`, both included."""
    if first == last:
        return dg.RunRequest(run_key=f"{first} {day}", partition_key=first)
    return dg.RunRequest(
        run_key=f"{first} to {last} {day}", tags={RANGE_START: first, RANGE_END: last}
    )
