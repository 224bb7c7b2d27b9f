"""The ingestion team's jobs, and what starts them: a schedule and a sensor for each service."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.source_checks import SOURCE_REACHABLE, evaluation, save_status
from ingestion.defs.trip_checks import UP_TO_DATE
from ingestion.lib import publication, services
from ingestion.lib.download import SourceMetadata
from ingestion.lib.publication import UNKNOWN_VERSION, LoadPlan, Polls, Refusals
from ingestion.lib.published_files import Version, fetch_version
from taxi_shared import keys, settings
from taxi_shared.automation import automation_sensor
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.ranges import has_unfinished_run, run_requests
from taxi_shared.services import YELLOW, Service
from taxi_shared.versions import input_versions

LOCATION = "ingestion"
SENSOR_SECONDS = 60
# No publisher's version is the same as this one.
NOT_LOADED = Version(etag="not loaded", bytes=-1)

ingestion_automation_sensor = automation_sensor(LOCATION)


def other_assets(service: Service) -> tuple[dg.AssetKey, ...]:
    """What the job of a service materializes besides its trips: yellow's job loads the zones."""
    return (keys.TAXI_ZONES_FILE, keys.TAXI_ZONES) if service == YELLOW else ()


def job_assets(service: Service) -> dg.AssetSelection:
    """What the job of a service materializes, without the checks that are no part of a load.

    No load can report a month that never arrives, or whether its source can be reached later.
    """
    return dg.AssetSelection.assets(
        service.file_asset, service.table_asset, *other_assets(service)
    ) - dg.AssetSelection.checks(
        dg.AssetCheckKey(service.table_asset, UP_TO_DATE),
        dg.AssetCheckKey(service.file_asset, SOURCE_REACHABLE),
    )


update_jobs = [
    dg.define_asset_job(
        service.job_name,
        selection=job_assets(service),
        description=f"Fetches and loads months of {service.name} trips"
        f"{''.join(f', and {key.to_user_string()}' for key in other_assets(service))}.",
    )
    for service in services.chosen()
]


def update_schedule(service: Service) -> dg.ScheduleDefinition:
    """Run the job of a service on the fifth of each month, as in `trip_update_schedule`."""

    @dg.schedule(
        name=f"{service.job_prefix}_update_schedule",
        job_name=service.job_name,
        cron_schedule="0 0 5 * *",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, tlc: TlcSource, database: LakeDatabase
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """Loads the months that are missing and published, and those that TLC has replaced."""
        if has_unfinished_run(context.instance, LOCATION, service.table_asset, service.job_name):
            return dg.SkipReason(_being_loaded(service))
        planner = LoadPlanner(context.instance, service, tlc, database.lake)
        now = context.scheduled_execution_time
        months = services.months_until(service, now)
        plan = planner.plan(months, now)
        if not plan.due:
            return dg.SkipReason(plan.reason_to_wait)
        if plan.error or plan.not_published:
            context.log.info(plan.reason_to_wait)
        return run_requests(plan.due, months, f"{now:%Y-%m-%d}")

    return schedule


def publication_sensor(service: Service) -> dg.SensorDefinition:
    """Run the job of a service for new and replaced months, as in `trip_publication_sensor`."""

    @dg.sensor(
        name=f"{service.job_prefix}_publication_sensor",
        job_name=service.job_name,
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
        if has_unfinished_run(context.instance, LOCATION, service.table_asset, service.job_name):
            return dg.SensorResult(skip_reason=_being_loaded(service))
        planner = LoadPlanner(context.instance, service, tlc, database.lake)
        now = datetime.now(UTC)
        seconds = now.timestamp()
        months = services.months_until(service, now)
        polls, plan = Polls.from_cursor(context.cursor, tlc.fingerprint), LoadPlan()
        if not polls.is_waiting(seconds):
            due = polls.due(months, seconds)
            plan = planner.plan(due, now)
            polls = polls.after(months, plan, seconds)
        requests = run_requests(plan.due, months, now.isoformat(timespec="seconds"))
        status = polls.status(service.name, tlc.publisher, months, now)
        status = save_status(database.lake.root, status)
        # Each hour too: a person may have executed the check while the source was away.
        is_new = not polls.is_reported(status.message, seconds)
        if is_new:
            polls = replace(polls, reported=status.message, reported_at=seconds)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else status.message,
            cursor=polls.to_cursor(),
            asset_events=[evaluation(service, status)] if is_new else [],
        )

    return sensor


@dataclass(frozen=True)
class LoadPlanner:
    """Plans which months of a service to load, by what was loaded and what is published."""

    instance: dg.DagsterInstance
    service: Service
    tlc: TlcSource
    lake: Lake

    def plan(self, months: Sequence[str], now: datetime) -> LoadPlan:
        """Ask the publisher for the versions of these months, and compare them with the loaded."""
        loaded = self.instance.get_materialized_partitions(self.service.table_asset)
        return publication.plan(
            months,
            self._published_version,
            self._loaded_versions(loaded & set(months)),
            Refusals(self.tlc.publisher, lambda: loaded, now.date()),
        )

    def _published_version(self, month: str) -> Version:
        return fetch_version(self.tlc.trips_address(self.service.name, month[:7]))

    def _loaded_versions(self, loaded: Set[str]) -> Callable[[str], Version | None]:
        """The versions that months were loaded from, as their files' metadata in `raw/` says.

        A month whose newer file was fetched and not loaded, as its load failed, has NOT_LOADED; one
        without metadata has UNKNOWN_VERSION.
        """
        file_asset = self.service.file_asset
        files = input_versions(self.instance, self.service.table_asset, file_asset, loaded)

        def version(month: str) -> Version | None:
            if month not in loaded:
                return None
            metadata = SourceMetadata.load(services.raw_file(self.service, self.lake.root, month))
            if metadata and files.get(month, metadata.sha256) != metadata.sha256:
                return NOT_LOADED
            return metadata.version if metadata else UNKNOWN_VERSION

        return version


def _being_loaded(service: Service) -> str:
    return f"A run that loads {service.table.name} is not finished yet."
