"""The intake of requests: a sensor that starts a run for each new or changed request file."""

from collections.abc import Sequence

import dagster as dg

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.intake import Accepted, Postponed, Rejected
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
    """A run for each file `requests/<name>.json` that is new or has changed."""
    root = database.lake.root
    before = intake.folder_version(root.requests)
    decision = _decide(context, root)
    watch_seconds = float(settings.get(settings.REQUEST_WATCH_SECONDS))
    if not (decision and decision.due) and intake.changes(root.requests, before, watch_seconds):
        decision = _decide(context, root)
    if decision is None:
        return dg.SkipReason(f"There is no folder {root.requests} yet.")
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    for outcome in intake.read(root.requests, decision.due):
        match outcome:
            case Accepted():
                accepted.append(outcome)
            case Rejected() if _reported(context, root, outcome):
                rejected.append(outcome)
            case Postponed():
                context.log.warning(f"{outcome.reason}; it is tried again at the next tick.")
    if decision.waiting:
        context.log.info(f"{decision.waiting:,} more are left for the next ticks.")
    dealt_with = [each.file for each in accepted] + [each.file for each in rejected]
    return dg.SensorResult(
        run_requests=[_run_request(each) for each in accepted],
        skip_reason=None if accepted else _skip_reason(rejected),
        cursor=intake.to_cursor(intake.seen_by(dealt_with)),
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
        f"Told of {len(found.months)} months and zones of {len(found.zones)} boroughs."
    )


def _decide(context: dg.SensorEvaluationContext, root: DataRoot) -> intake.Decision | None:
    listing = intake.list_requests(root.requests)
    if listing is None:
        return None
    path = intake.ledger_path(root)
    ledger = intake.load_ledger(path)
    if ledger is None:
        # No request is answered twice for that: Dagster knows the run keys of the runs it has.
        context.log.warning(f"{path} is not a ledger of requests; it is made anew.")
    decision = intake.decide(listing, ledger or {}, intake.from_cursor(context.cursor))
    if decision.ledger != ledger:
        intake.save_ledger(path, decision.ledger)
    return decision


def _reported(context: dg.SensorEvaluationContext, root: DataRoot, rejected: Rejected) -> bool:
    """Report a file that is no valid request; False where that must be tried again."""
    try:
        outputs.report_error(root, rejected.file.name, rejected.reason, rejected.file.run_key)
    except OSError as error:
        context.log.error(f"{rejected.reason} (reported again, as this failed: {error})")
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
