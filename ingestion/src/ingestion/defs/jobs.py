"""The ingestion team's jobs, and what starts them: a schedule and a sensor for each service."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.source_checks import evaluation, save_status, source_reachable
from ingestion.defs.trip_checks import up_to_date
from ingestion.defs.trips import GREEN, YELLOW, Service
from ingestion.lib import download, publication
from ingestion.lib.download import SourceMetadata, Version
from ingestion.lib.publication import LoadPlan, Polls, Refusals
from taxi_shared import keys, settings
from taxi_shared.automation import automation_sensor
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.ranges import has_unfinished_run, run_requests
from taxi_shared.versions import made_from

LOCATION = "ingestion"
SENSOR_SECONDS = 60
REPORT_SECONDS = 3600
# No publisher's version is the same as this one.
NOT_LOADED = Version(etag="not loaded", bytes=-1)

# No load can report a month that never arrives, or whether its source can be reached later.
NOT_OF_A_LOAD = dg.AssetSelection.checks(up_to_date, source_reachable)

trip_update_job = dg.define_asset_job(
    "trip_update_job",
    selection=dg.AssetSelection.assets(*YELLOW.assets, keys.TAXI_ZONES_FILE, keys.TAXI_ZONES)
    - NOT_OF_A_LOAD,
    description="Fetches and loads a month of trips, and the taxi zones.",
)
green_update_job = dg.define_asset_job(
    "green_update_job",
    selection=dg.AssetSelection.assets(*GREEN.assets) - NOT_OF_A_LOAD,
    description="Fetches and loads a month of green trips.",
)

ingestion_automation_sensor = automation_sensor(LOCATION)


def update_schedule(name: str, service: Service, job_name: str) -> dg.ScheduleDefinition:
    """Runs of a job for months of a service, on the fifth of each month."""

    @dg.schedule(name=name, job_name=job_name, cron_schedule="0 0 5 * *")
    def schedule(
        context: dg.ScheduleEvaluationContext, tlc: TlcSource, database: LakeDatabase
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """Loads the months that are missing and published, and those that TLC has replaced."""
        if has_unfinished_run(context.instance, LOCATION, service.table_asset, job_name):
            return dg.SkipReason(_being_loaded(service))
        now = context.scheduled_execution_time
        months = service.months_so_far(now)
        plan = _plan(context.instance, service, tlc, database.lake, months, now)
        if not plan.due:
            return dg.SkipReason(plan.reason_to_wait)
        if plan.error or plan.not_published:
            context.log.info(plan.reason_to_wait)
        return run_requests(plan.due, months, f"{now:%Y-%m-%d}")

    return schedule


def publication_sensor(name: str, service: Service, job_name: str) -> dg.SensorDefinition:
    """Runs of a job for months of a service, soon after they are published or replaced."""

    @dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.load().follow_tlc
        else dg.DefaultSensorStatus.STOPPED,
    )
    def sensor(
        context: dg.SensorEvaluationContext, tlc: TlcSource, database: LakeDatabase
    ) -> dg.SensorResult:
        """Loads a month soon after TLC has published or replaced it.

        The sensor asks TLC for one header per month: once per day for a loaded month, after an
        hour, two, four, … at most a day for one that is not published, after two minutes, four, …
        at most a day for one whose load fails. It retries a source that it cannot reach after 2 to
        15 minutes, one that blocks this address after 5 to 60.
        """
        if has_unfinished_run(context.instance, LOCATION, service.table_asset, job_name):
            return dg.SensorResult(skip_reason=_being_loaded(service))
        now = datetime.now(UTC)
        seconds = now.timestamp()
        months = service.months_so_far(now)
        polls, plan = Polls.from_cursor(context.cursor, tlc.fingerprint), LoadPlan()
        if not polls.is_waiting(seconds):
            due = polls.due(months, seconds)
            plan = _plan(context.instance, service, tlc, database.lake, due, now)
            polls = polls.after(months, plan, seconds)
        requests = run_requests(plan.due, months, now.isoformat(timespec="seconds"))
        status = save_status(service, tlc, database.lake.root, polls, months, now)
        # Each hour too: a person may have executed the check while the source was away.
        is_new = status.message != polls.reported or seconds > polls.reported_at + REPORT_SECONDS
        if is_new:
            polls = replace(polls, reported=status.message, reported_at=seconds)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else status.message,
            cursor=polls.to_cursor(),
            asset_events=[evaluation(service, status)] if is_new else [],
        )

    return sensor


def _plan(
    instance: dg.DagsterInstance,
    service: Service,
    tlc: TlcSource,
    lake: Lake,
    months: Sequence[str],
    now: datetime,
) -> LoadPlan:
    """What there is to do for these months.

    A loaded month's metadata says what it was made from, unless the load of a newer file failed:
    such a month counts as replaced.
    """
    loaded = instance.get_materialized_partitions(service.table_asset)
    files = made_from(instance, service.table_asset, service.file_asset, loaded & set(months))

    def known(month: str) -> Version | None:
        metadata = SourceMetadata.load(service.source(tlc, lake, month).path)
        if metadata and files.get(month, metadata.sha256) != metadata.sha256:
            return NOT_LOADED
        return metadata.version if metadata else None

    return publication.plan(
        months,
        loaded,
        lambda month: download.fetch_version(tlc.trips_address(service.name, month[:7])),
        known,
        Refusals(tlc.publisher, lambda: loaded, now.date()),
    )


def _being_loaded(service: Service) -> str:
    return f"A run that loads {service.table.name} is not finished yet."


trip_update_schedule = update_schedule("trip_update_schedule", YELLOW, trip_update_job.name)
green_update_schedule = update_schedule("green_update_schedule", GREEN, green_update_job.name)
trip_publication_sensor = publication_sensor(
    "trip_publication_sensor", YELLOW, trip_update_job.name
)
green_publication_sensor = publication_sensor(
    "green_publication_sensor", GREEN, green_update_job.name
)
