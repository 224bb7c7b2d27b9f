"""Everything that the ingestion team gives to the platform."""

import dagster as dg

from ingestion.defs import jobs, source_checks, trip_checks, trips, zones
from ingestion.defs.resources import resources
from taxi_shared.ownership import owned_by

defs = dg.Definitions(
    assets=owned_by(
        "ingestion",
        [trips.yellow_trips, trips.green_trips, zones.taxi_zones_file, zones.taxi_zones],
    ),
    asset_checks=[trip_checks.up_to_date, source_checks.source_reachable],
    jobs=[jobs.trip_update_job, jobs.green_update_job],
    schedules=[jobs.trip_update_schedule, jobs.green_update_schedule],
    sensors=[
        jobs.trip_publication_sensor,
        jobs.green_publication_sensor,
        jobs.ingestion_automation_sensor,
    ],
    resources=resources(),
    # A process a step would cost more than most steps do.
    executor=dg.in_process_executor,
)
