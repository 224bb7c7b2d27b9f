"""Everything that the ingestion team contributes to the platform."""

import dagster as dg

import taxi_shared.process  # noqa: F401 - sets up the garbage collector
from ingestion.defs import jobs, lake_jobs, source_checks, trip_checks, zones
from ingestion.defs.resources import resources
from ingestion.defs.trips import trip_assets
from ingestion.lib import services
from taxi_shared.ownership import owned_by

SERVICES = services.chosen()

defs = dg.Definitions(
    assets=owned_by(
        "ingestion", [*map(trip_assets, SERVICES), zones.taxi_zones_file, zones.taxi_zones]
    ),
    asset_checks=[*map(trip_checks.up_to_date, SERVICES), source_checks.source_reachable],
    jobs=[*jobs.update_jobs, lake_jobs.lake_vacuum_job],
    schedules=[*map(jobs.update_schedule, SERVICES), lake_jobs.lake_vacuum_schedule],
    sensors=[*map(jobs.publication_sensor, SERVICES), jobs.ingestion_automation_sensor],
    resources=resources(),
    # A process per step would cost more than most steps do.
    executor=dg.in_process_executor,
)
