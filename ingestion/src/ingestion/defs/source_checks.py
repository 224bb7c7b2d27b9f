"""The check whether a service's source can be reached; the sensors report it at every change."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from ingestion.defs.resources import TlcSource
from ingestion.defs.trips import GREEN, YELLOW, Service
from ingestion.lib.download import DownloadError, NotPublished, fetch_version
from ingestion.lib.publication import Polls, Refusals
from taxi_shared import source_status
from taxi_shared.database import LakeDatabase
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot

SOURCE_REACHABLE = "source_reachable"
SERVICES = {service.file_asset: service for service in (YELLOW, GREEN)}


@dg.multi_asset_check(
    name=SOURCE_REACHABLE,
    specs=[
        dg.AssetCheckSpec(
            SOURCE_REACHABLE,
            asset=asset,
            description="The source of the files answers and does not refuse requests. The sensor "
            "reports every change; executing the check asks for the header of one month's file.",
        )
        for asset in SERVICES
    ],
    can_subset=True,
)
def source_reachable(
    context: dg.AssetCheckExecutionContext, tlc: TlcSource, database: LakeDatabase
) -> Iterator[dg.AssetCheckResult]:
    """Asks for the newest month in the lake, or for the first month where there is none."""
    for key in sorted(context.selected_asset_check_keys):
        service = SERVICES[key.asset_key]
        loaded = database.lake.versions(service.table)
        now = datetime.now(UTC)
        month = max(loaded, default=None) or next(iter(service.months_so_far(now)), None)
        error = _ask(service, tlc, loaded, month, now) if month else None
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=error is None,
            description=f"Could not reach {tlc.publisher}: {error}" if error else None,
        )


def _ask(
    service: Service, tlc: TlcSource, loaded: Iterable[str], month: str, now: datetime
) -> Exception | None:
    """Why the source cannot be asked for a month; None where it answers."""
    try:
        fetch_version(tlc.trips_address(service.name, month[:7]))
    except DownloadError as raised:
        refusals = Refusals(tlc.publisher, lambda: loaded, now.date())
        error = refusals.judge(month, raised)
        return refusals.block(is_final=True) or (None if isinstance(error, NotPublished) else error)
    return None


def save_status(
    service: Service,
    tlc: TlcSource,
    root: DataRoot,
    polls: Polls,
    months: Sequence[str],
    now: datetime,
) -> SourceStatus:
    """The status of a service's source, which the portal reads."""
    previous = source_status.load(root).get(service.name)
    status = polls.status(service.name, tlc.publisher, months, now, previous)
    if status != previous:
        status.save(root)
    return status


def evaluation(service: Service, status: SourceStatus) -> dg.AssetCheckEvaluation:
    """The evaluation of the check that says the same."""
    return dg.AssetCheckEvaluation(
        asset_key=service.file_asset,
        check_name=SOURCE_REACHABLE,
        passed=status.state != "unreachable",
        severity=dg.AssetCheckSeverity.ERROR,
        description=status.message,
        metadata={
            "state": status.state,
            "since": dg.MetadataValue.timestamp(status.since),
            "next look": dg.MetadataValue.timestamp(status.next_look),
        },
    )
