"""The ingestion team's jobs, and what starts them: a schedule and a sensor for each service."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import up_to_date
from ingestion.defs.trips import GREEN, YELLOW, Service
from ingestion.lib import download, publication
from ingestion.lib.download import Receipt, Version
from ingestion.lib.publication import Outlook, Turn
from taxi_shared import keys, settings
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.ranges import is_being_made, run_requests
from taxi_shared.versions import made_from

LOCATION = "ingestion"
SENSOR_SECONDS = 60
# No publisher's version is the same as this one.
NOT_LOADED = Version(etag="not loaded", bytes=-1)

# What a load tells nothing of is not looked at by loads.
NOT_OF_A_LOAD = dg.AssetSelection.checks(up_to_date)

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

ingestion_automation_sensor = dg.AutomationConditionSensorDefinition(
    "ingestion_automation_sensor",
    target=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
    default_status=dg.DefaultSensorStatus.RUNNING,
)


def update_schedule(name: str, service: Service, job_name: str) -> dg.ScheduleDefinition:
    """Runs of a job for months of a service, on the fifth of each month."""

    @dg.schedule(name=name, job_name=job_name, cron_schedule="0 0 5 * *")
    def schedule(
        context: dg.ScheduleEvaluationContext, tlc: TlcSource, database: LakeDatabase
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """Loads the months that are missing and published, and those that TLC has replaced."""
        if is_being_made(context.instance, LOCATION, service.table_asset, job_name):
            return dg.SkipReason(_being_made(service))
        now = context.scheduled_execution_time
        months = service.months_so_far(now)
        outlook = _outlook(context.instance, service, tlc, database.lake, months)
        if not outlook.due:
            return dg.SkipReason(outlook.reason_to_wait)
        for key, reason in outlook.waiting.items():
            context.log.info(f"{key[:7]}: {reason}")
        return run_requests(outlook.due, months, f"{now:%Y-%m-%d}")

    return schedule


def publication_sensor(name: str, service: Service, job_name: str) -> dg.SensorDefinition:
    """Runs of a job for months of a service, soon after they are published or replaced."""

    @dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.is_on(settings.FOLLOW_TLC)
        else dg.DefaultSensorStatus.STOPPED,
    )
    def sensor(
        context: dg.SensorEvaluationContext, tlc: TlcSource, database: LakeDatabase
    ) -> dg.SensorResult:
        """Loads a month soon after TLC has published or replaced it.

        TLC is asked for one header a month: for a loaded month once a day, for one that is not
        published at first after an hour, at last once a day. One whose load fails is asked for
        again after two minutes, at last once a day.
        """
        if is_being_made(context.instance, LOCATION, service.table_asset, job_name):
            return dg.SensorResult(skip_reason=_being_made(service))
        now = datetime.now(UTC)
        turns = {key: Turn(**turn) for key, turn in json.loads(context.cursor or "{}").items()}
        months = service.months_so_far(now)
        due = publication.turns_due(months, turns, now.timestamp())
        outlook = _outlook(context.instance, service, tlc, database.lake, due)
        after = publication.turns_after(months, turns, outlook, now.timestamp())
        requests = run_requests(outlook.due, months, now.isoformat(timespec="seconds"))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else outlook.reason_to_wait,
            cursor=json.dumps({key: asdict(turn) for key, turn in after.items()}),
        )

    return sensor


def _outlook(
    instance: dg.DagsterInstance,
    service: Service,
    tlc: TlcSource,
    lake: Lake,
    months: Sequence[str],
) -> Outlook:
    """What there is to do for these months.

    What a loaded month was made from is told by its receipt: but not where its rows were not made
    again since the file was fetched, because that failed. Such a month counts as replaced.
    """
    loaded = instance.get_materialized_partitions(service.table_asset)
    files = made_from(instance, service.table_asset, service.file_asset, loaded & set(months))

    def known(month: str) -> Version | None:
        receipt = Receipt.kept(service.source(tlc, lake, month).path)
        if receipt and files.get(month, receipt.sha256) != receipt.sha256:
            return NOT_LOADED
        return receipt.version if receipt else None

    return publication.outlook(
        months,
        loaded,
        lambda month: download.look(tlc.trips_address(service.name, month[:7])),
        known,
    )


def _being_made(service: Service) -> str:
    return f"A run that loads {service.table.name} is not finished yet."


trip_update_schedule = update_schedule("trip_update_schedule", YELLOW, trip_update_job.name)
green_update_schedule = update_schedule("green_update_schedule", GREEN, green_update_job.name)
trip_publication_sensor = publication_sensor(
    "trip_publication_sensor", YELLOW, trip_update_job.name
)
green_publication_sensor = publication_sensor(
    "green_publication_sensor", GREEN, green_update_job.name
)
