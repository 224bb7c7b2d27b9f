"""The intake of requests: sensors that start a run per request, and record runs that were lost."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import dagster as dg

from adhoc_reports.defs.partitions import reports
from adhoc_reports.lib import lost_runs, upgrade
from adhoc_reports.lib.decisions import Decision, decide
from adhoc_reports.lib.index import ReportEntry
from adhoc_reports.lib.outcome import Outcome, Status
from adhoc_reports.lib.request_files import folder_version, wait_for_change
from adhoc_reports.lib.retention import RunRetention
from adhoc_reports.lib.store import ReportStore
from taxi_shared import keys, settings
from taxi_shared.database import LakeDatabase
from taxi_shared.ranges import LOCATION_TAG, UNFINISHED
from taxi_shared.storage import DataRoot

LOCATION = "adhoc_reports"
# Most of them unchanged: after a restart, every file is read again. 64 MB at most.
READS_PER_TICK = 1_000
REASONS_SHOWN = 10

adhoc_request_job = dg.define_asset_job(
    "adhoc_request_job",
    selection=dg.AssetSelection.assets(keys.ADHOC_REQUEST),
    description="Answers one request with a chart and its numbers.",
    # Loads and weeks, of which there are few, go first.
    tags={"dagster/priority": "-1"},
)


@dg.sensor(
    job=adhoc_request_job,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def adhoc_request_sensor(
    context: dg.SensorEvaluationContext, database: LakeDatabase
) -> dg.SensorResult:
    """Request a run per file `requests/<name>.json` that is new or has changed."""
    store = _store(str(database.lake.root.base))
    before = folder_version(store.root.requests)
    decision = _decide(context, store)
    watch_seconds = settings.load().request_watch_seconds
    if decision.is_idle and wait_for_change(store.root.requests, before, watch_seconds):
        decision = _decide(context, store)
    rejected = [entry for entry in decision.to_reject if _reject(context, store, entry)]
    withdrawn = [name for name in decision.withdrawn if _withdraw(context, store, name)]
    for name in decision.obsolete:
        store.remove_outcome(name)
    added = [entry.name for entry in (*decision.to_run, *decision.to_register)]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                " after ".join([entry.run_key, *decision.lost.get(entry.name, "").split()]),
                partition_key=entry.name,
            )
            for entry in decision.to_run
        ],
        skip_reason=None if decision.to_run else _skip_reason(rejected),
        dynamic_partitions_requests=[
            *([reports.build_add_request(added)] if added else []),
            *([reports.build_delete_request(withdrawn)] if withdrawn else []),
        ],
        asset_events=[
            dg.AssetMaterialization(keys.ADHOC_REQUEST, partition=entry.name)
            for entry in decision.to_register
            if entry.status is Status.DONE
        ],
    )


@dg.run_failure_sensor(minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def adhoc_request_failure_sensor(
    context: dg.RunFailureSensorContext, database: LakeDatabase
) -> None:
    """Record the failure of a run that could not do so itself, because its process was killed."""
    lost_runs.record(
        _store(str(database.lake.root.base)),
        context.dagster_run,
        context.failure_event.message or "",
    )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def adhoc_request_cancellation_sensor(
    context: dg.RunStatusSensorContext, database: LakeDatabase
) -> None:
    """Record that a run was cancelled, where it could not do so itself."""
    store = _store(str(database.lake.root.base))
    lost_runs.record(store, context.dagster_run, "interrupted")


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def adhoc_request_retention_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Remove runs of requests that are older than TAXI_KEEP_REQUEST_RUNS_DAYS; reports stay."""
    retention = RunRetention(
        context.instance,
        LOCATION,
        before=datetime.now(UTC) - timedelta(days=settings.load().keep_request_runs_days),
        partitions=frozenset(context.instance.get_dynamic_partitions(reports.name or "")),
    )
    removed, cursor = retention.sweep(context.cursor)
    return dg.SensorResult(skip_reason=f"{removed:,} old runs were removed.", cursor=cursor)


@lru_cache(maxsize=8)
def _store(address: str) -> ReportStore:
    """The store of a data root, which remembers what it has read from tick to tick."""
    return ReportStore(DataRoot.at(address))


def _decide(context: dg.SensorEvaluationContext, store: ReportStore) -> Decision:
    index = store.scan(READS_PER_TICK)
    store.record_check()
    if converted := upgrade.convert(store, index.unknown):  # the next scan sees their outcomes
        return Decision(waiting=converted)
    for reason in index.postponed:
        context.log.warning(f"{reason}; the next tick reads it again.")
    partitions = set(context.instance.get_dynamic_partitions(reports.name or ""))
    decision = decide(index, partitions)
    if decision.depends_on_runs:
        unfinished = dg.RunsFilter(statuses=UNFINISHED, tags={LOCATION_TAG: LOCATION})
        runs = context.instance.get_runs(unfinished)
        decision = decision.without_running(set(filter(None, map(lost_runs.report_of, runs))))
        decision = _settle(context, store, decision)
    waiting = decision.waiting + index.unread + len(index.postponed)
    if waiting:
        context.log.info(f"{waiting:,} more files are left for the next ticks.")
    return replace(decision, waiting=waiting)


def _settle(
    context: dg.SensorEvaluationContext, store: ReportStore, decision: Decision
) -> Decision:
    """Deal with requests that Dagster has run before: it never starts a second run of a run key.

    A run that failed is recorded. One that succeeded is repeated, since its outcome was removed.
    """
    names = [entry.name for entry in decision.to_run]
    if not names:
        return decision
    of_names = dg.RunsFilter(tags={LOCATION_TAG: LOCATION, lost_runs.PARTITION_TAG: names})
    newest = lost_runs.newest_of_key(context.instance.get_runs(of_names), decision.to_run)
    for run in newest.values():
        # A retry may have been queued since the unfinished runs were listed.
        if run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            is_cancelled = run.status is dg.DagsterRunStatus.CANCELED
            error = "interrupted" if is_cancelled else "The run ended unexpectedly."
            lost_runs.record(store, run, error)
    lost = {n: r.run_id for n, r in newest.items() if r.status is dg.DagsterRunStatus.SUCCESS}
    to_run = [e for e in decision.to_run if e.name not in newest or e.name in lost]
    return replace(decision, to_run=tuple(to_run), lost=lost)


def _reject(context: dg.SensorEvaluationContext, store: ReportStore, entry: ReportEntry) -> bool:
    """Write the outcome of a file that is no valid request; False where the next tick must."""
    outcome = Outcome(
        status=Status.REJECTED,
        filename=entry.filename,
        content_hash=entry.content_hash,
        request=None,
        reason=entry.reason,
    )
    try:
        store.write_outcome(entry.name, outcome)
    except Exception as error:  # each kind of storage has its own
        context.log.error(f"{entry.reason} (writing this failed, the next tick retries: {error})")
        return False
    context.log.warning(entry.reason)
    return True


def _withdraw(context: dg.SensorEvaluationContext, store: ReportStore, name: str) -> bool:
    """Remove the outputs of a request that is gone; False where the next tick must."""
    try:
        if not settings.load().keep_outputs:
            store.remove_outputs(name)
    except Exception as error:  # each kind of storage has its own
        context.log.warning(f"The outputs of {name} could not be removed: {error}")
        return False
    return True


def _skip_reason(rejected: Sequence[ReportEntry]) -> str:
    if not rejected:
        return "No new or changed requests."
    more = len(rejected) - REASONS_SHOWN
    reasons = [entry.reason for entry in rejected[:REASONS_SHOWN]]
    return "\n".join(reasons + ([f"and {more} more, see outputs/*.json"] if more > 0 else []))
