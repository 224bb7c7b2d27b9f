"""Care for the lake: removal of files that loads have replaced."""

import time
from datetime import timedelta

import dagster as dg
from pydantic import Field

from taxi_shared import settings
from taxi_shared.database import LakeDatabase


class VacuumConfig(dg.Config):
    """How long files stay that no longer count."""

    retention_days: int = Field(
        default=settings.load().lake_retention_days, ge=1, le=settings.MAX_LAKE_RETENTION_DAYS
    )


@dg.op
def remove_replaced_files(
    context: dg.OpExecutionContext, config: VacuumConfig, database: LakeDatabase
) -> None:
    """Remove files that no version of their table within the retention has.

    Months can then no longer be put back to older versions. What a reader has open stays as long as
    it takes less than the retention.
    """
    begin = time.perf_counter()
    removed = database.lake.vacuum(timedelta(days=config.retention_days))
    seconds = time.perf_counter() - begin
    for path in removed:
        context.log.info(f"removed {path}")
    context.log.info(f"{len(removed)} files removed in {seconds:.1f} s")


@dg.job(description="Removes files of the lake that were replaced long ago.")
def lake_vacuum_job() -> None:
    """One step over all tables."""
    remove_replaced_files()


lake_vacuum_schedule = dg.ScheduleDefinition(
    name="lake_vacuum_schedule",
    job=lake_vacuum_job,
    cron_schedule="0 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
