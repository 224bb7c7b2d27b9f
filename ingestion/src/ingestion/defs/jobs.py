"""The ingestion team's jobs and the schedules that look for new months, a pair a service."""

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.trips import GREEN, YELLOW, Service
from ingestion.lib import download, publication
from taxi_shared import keys
from taxi_shared.partitions import monthly


def update_schedule(name: str, service: Service, job_name: str) -> dg.ScheduleDefinition:
    """Runs of a job for months of a service, on the fifth of each month."""

    @dg.schedule(name=name, job_name=job_name, cron_schedule="0 0 5 * *")
    def schedule(
        context: dg.ScheduleEvaluationContext, tlc: TlcSource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """A run for each month that is missing and published; one missed before is caught up."""
        now = context.scheduled_execution_time
        expected = monthly().get_partition_keys(current_time=now)
        missing = publication.missing(
            [key for key in expected if key[:7] >= service.first_month],
            context.instance.get_materialized_partitions(service.table_asset),
        )
        outlook = publication.outlook(
            missing, lambda key: download.look(tlc.trips_address(service.name, key[:7]))
        )
        if not outlook.published:
            return dg.SkipReason(outlook.reason_to_wait)
        for key, reason in outlook.waiting.items():
            context.log.info(f"{key[:7]}: {reason}")
        return [
            dg.RunRequest(run_key=f"{key} {now:%Y-%m-%d}", partition_key=key)
            for key in outlook.published
        ]

    return schedule


trip_update_job = dg.define_asset_job(
    "trip_update_job",
    selection=dg.AssetSelection.assets(*YELLOW.assets, keys.TAXI_ZONES_FILE, keys.TAXI_ZONES),
    description="Fetches and loads a month of trips, and the taxi zones.",
)
trip_update_schedule = update_schedule("trip_update_schedule", YELLOW, trip_update_job.name)

green_update_job = dg.define_asset_job(
    "green_update_job",
    selection=dg.AssetSelection.assets(*GREEN.assets),
    description="Fetches and loads a month of green trips.",
)
green_update_schedule = update_schedule("green_update_schedule", GREEN, green_update_job.name)
