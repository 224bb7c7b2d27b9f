"""The intake of requests: a sensor that starts a run for each new or changed request file."""

from collections.abc import Sequence

import dagster as dg

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.intake import Accepted, Rejected
from adhoc_reports.lib.request import shown_name
from taxi_shared import keys, settings
from taxi_shared.database import LakeDatabase
from taxi_shared.storage import DataRoot

REASONS_SHOWN = 10

adhoc_request_job = dg.define_asset_job(
    "adhoc_request_job",
    selection=dg.AssetSelection.assets(keys.ADHOC_REQUEST),
    description="Answers one request with a chart and its numbers.",
)


@dg.sensor(
    job=adhoc_request_job,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def adhoc_request_sensor(
    context: dg.SensorEvaluationContext, database: LakeDatabase
) -> dg.SensorResult | dg.SkipReason:
    """Requests a run for each file `requests/<name>.json` that is new or has changed."""
    root = database.lake.root
    before = intake.folder_version(root.requests)
    decision = _decide(context, root)
    watch_seconds = settings.load().request_watch_seconds
    is_idle = decision is None or decision.is_idle
    if is_idle and intake.changes(root.requests, before, watch_seconds):
        decision = _decide(context, root)
    if decision is None:
        return dg.SkipReason(f"There is no folder {root.requests} yet.")
    for postponed in decision.postponed:
        context.log.warning(f"{postponed.reason}; the next tick reads it again.")
    if decision.waiting:
        context.log.info(f"{decision.waiting:,} more are left for the next ticks.")
    accepted = [each for each in decision.due if isinstance(each, Accepted)]
    rejected = [
        each
        for each in decision.due
        if isinstance(each, Rejected) and _reported(context, root, each)
    ]
    return dg.SensorResult(
        run_requests=[_run_request(each) for each in accepted],
        skip_reason=None if accepted else _skip_reason(rejected),
        cursor=intake.to_cursor(intake.to_records([*accepted, *rejected])),
    )


@dg.sensor(minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING)
def available_data_sensor(
    context: dg.SensorEvaluationContext, database: LakeDatabase
) -> dg.SkipReason:
    """Tells the report portal which months and zones there are: `outputs/available_data.json`.

    The portal may read outputs and nothing else, and this takes two listings: no run is needed.
    """
    lake = database.lake
    versions = available.versions(lake)
    if available.told(lake.root).versions == versions:
        return dg.SkipReason("The lake has the months and zones that were told last.")
    with database.get_connection(tables=available.TABLES) as con:
        found = available.find(con, lake, versions)
    available.tell(lake.root, found)
    return dg.SkipReason(
        f"Published {len(found.months)} months and the zones of {len(found.zones)} boroughs."
    )


def _decide(context: dg.SensorEvaluationContext, root: DataRoot) -> intake.Decision | None:
    listing = intake.list_requests(root.requests)
    if listing is None:
        return None
    path = intake.ledger_path(root)
    ledger = intake.load_ledger(path)
    if ledger is None:
        # Dagster knows the run keys of the runs it has launched, so none is launched twice.
        context.log.warning(f"{path} is not a ledger of requests; a new one is written.")
    planned = intake.plan(listing, ledger or {}, intake.from_cursor(context.cursor))
    decision = intake.decide(planned, intake.read_in_batches(root.requests, planned.unread))
    for filename in decision.gone:
        _withdraw_error(context, root, filename)
    if decision.ledger != ledger:
        intake.save_ledger(path, decision.ledger)
    return decision


def _withdraw_error(context: dg.SensorEvaluationContext, root: DataRoot, filename: str) -> None:
    """Remove the error on a file whose name was refused, and which is gone or has been renamed."""
    try:
        outputs.withdraw_error(root, filename)
    except Exception as error:  # each kind of storage has its own
        context.log.warning(f"The error on {shown_name(filename)} could not be removed: {error}")


def _reported(context: dg.SensorEvaluationContext, root: DataRoot, rejected: Rejected) -> bool:
    """Write the error on a file that is no valid request; False where the next tick must retry."""
    try:
        outputs.report_error(root, rejected.file.name, rejected.reason, rejected.file.run_key)
    except Exception as error:  # each kind of storage has its own
        context.log.error(f"{rejected.reason} (the next tick reports it; this one failed: {error})")
        return False
    context.log.warning(rejected.reason)
    return True


def _run_request(accepted: Accepted) -> dg.RunRequest:
    request = accepted.request
    return dg.RunRequest(
        run_key=accepted.file.run_key,
        run_config={
            "ops": {
                keys.ADHOC_REQUEST.to_python_identifier(): {
                    "config": request.model_dump(exclude_defaults=True)
                }
            }
        },
        tags={"request": request.name},
    )


def _skip_reason(rejected: Sequence[Rejected]) -> str:
    if not rejected:
        return "No new or changed requests."
    more = len(rejected) - REASONS_SHOWN
    reasons = [each.reason for each in rejected[:REASONS_SHOWN]]
    return "\n".join(reasons + ([f"and {more} more, see outputs/*.error.json"] if more > 0 else []))
