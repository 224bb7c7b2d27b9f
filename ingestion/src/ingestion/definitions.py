"""Everything that the ingestion team gives to the platform."""

import dagster as dg

from ingestion.defs import jobs, trips, zones
from ingestion.defs.resources import resources

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([trips, zones]),
    jobs=[jobs.trip_update_job, jobs.green_update_job],
    schedules=[jobs.trip_update_schedule, jobs.green_update_schedule],
    sensors=[jobs.trip_publication_sensor, jobs.green_publication_sensor],
    resources=resources(),
    # A process a step would cost more than most steps do.
    executor=dg.in_process_executor,
)
