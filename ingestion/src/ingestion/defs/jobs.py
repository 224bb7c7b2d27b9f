"""The ingestion team's job, and the schedule that looks for new months."""

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.trips import YELLOW
from ingestion.lib import download, publication
from taxi_shared.partitions import monthly

trip_update_job = dg.define_asset_job(
    "trip_update_job",
    selection=dg.AssetSelection.all(),
    description="Fetches and loads a month of trips, and the taxi zones.",
)


@dg.schedule(job=trip_update_job, cron_schedule="0 0 5 * *")
def trip_update_schedule(
    context: dg.ScheduleEvaluationContext, tlc: TlcSource
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each month that is missing and published; a month missed before is caught up."""
    now = context.scheduled_execution_time
    missing = publication.missing(
        monthly().get_partition_keys(current_time=now),
        context.instance.get_materialized_partitions(YELLOW.table_asset),
    )
    outlook = publication.outlook(
        missing, lambda key: download.look(tlc.trips_address(YELLOW.name, key[:7]))
    )
    if not outlook.published:
        return dg.SkipReason(outlook.reason_to_wait)
    for key, reason in outlook.waiting.items():
        context.log.info(f"{key[:7]}: {reason}")
    return [
        dg.RunRequest(run_key=f"{key} {now:%Y-%m-%d}", partition_key=key)
        for key in outlook.published
    ]
