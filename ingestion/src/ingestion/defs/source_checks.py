"""The check whether a service's source can be reached; the sensors report every change."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.lib import services
from ingestion.lib.publication import Refusals
from ingestion.lib.published_files import DownloadError, NotPublished, fetch_version
from taxi_shared import source_status
from taxi_shared.database import LakeDatabase
from taxi_shared.services import Service
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot

SOURCE_REACHABLE = "source_reachable"
SERVICES_BY_ASSET = {service.file_asset: service for service in services.chosen()}


@dg.multi_asset_check(
    name=SOURCE_REACHABLE,
    specs=[
        dg.AssetCheckSpec(
            SOURCE_REACHABLE,
            asset=asset,
            description="The source of the files answers and does not refuse requests. The sensor "
            "reports every change. Executing the check asks for the header of one month's file.",
        )
        for asset in SERVICES_BY_ASSET
    ],
    can_subset=True,
)
def source_reachable(
    context: dg.AssetCheckExecutionContext, tlc: TlcSource, database: LakeDatabase
) -> Iterator[dg.AssetCheckResult]:
    """Ask the source of each selected service for the header of one file."""
    for key in sorted(context.selected_asset_check_keys):
        service = SERVICES_BY_ASSET[key.asset_key]
        error = connection_error(service, tlc, database.lake.snapshot().versions(service.table))
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=error is None,
            description=f"Could not reach {tlc.publisher}: {error}" if error else None,
        )


def connection_error(
    service: Service, tlc: TlcSource, loaded: Mapping[str, str]
) -> Exception | None:
    """Why the source of a service cannot be reached; None where it answers.

    Asks for the newest of the loaded months, or for the first month where there is none.
    """
    now = datetime.now(UTC)
    month = max(loaded, default=None) or next(iter(services.months_until(service, now)), None)
    if month is None:
        return None
    refusals = Refusals(tlc.publisher, loaded.keys, now.date())
    try:
        fetch_version(tlc.trips_address(service.name, month[:7]))
    except DownloadError as raised:
        error = refusals.judge(month, raised)
        return refusals.block(is_final=True) or (None if isinstance(error, NotPublished) else error)
    return None


def save_status(root: DataRoot, status: SourceStatus) -> SourceStatus:
    """Save the status of a service's source, which the portal reads, and return it.

    A state that has not changed keeps the time at which it began.
    """
    previous = source_status.load(root, status.service)
    if previous and previous.state == status.state != "unreachable":
        status = status.model_copy(update={"since": previous.since})
    if status != previous:
        status.save(root)
    return status


def evaluation(service: Service, status: SourceStatus) -> dg.AssetCheckEvaluation:
    """The result of the check `source_reachable` that reports a status."""
    return dg.AssetCheckEvaluation(
        asset_key=service.file_asset,
        check_name=SOURCE_REACHABLE,
        passed=status.state != "unreachable",
        severity=dg.AssetCheckSeverity.ERROR,
        description=status.message,
        metadata={
            "state": status.state,
            "since": dg.MetadataValue.timestamp(status.since),
            "next check": dg.MetadataValue.timestamp(status.next_check),
        },
    )
