"""Runs that ended without writing an outcome, because their process was killed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from adhoc_reports.lib.failure import explain_error
from adhoc_reports.lib.outcome import Outcome, Status, utc_now
from adhoc_reports.lib.request import SUFFIX
from adhoc_reports.lib.request_files import Content
from taxi_shared import keys

if TYPE_CHECKING:
    import dagster as dg

    from adhoc_reports.lib.index import ReportEntry
    from adhoc_reports.lib.store import ReportStore

JOB = "adhoc_request_job"
PARTITION_TAG, RUN_KEY_TAG = "dagster/partition", "dagster/run_key"


def report_of(run: "dg.DagsterRun") -> str | None:
    """The name of the report that a run generates; None for runs of other assets."""
    if run.job_name != JOB and keys.ADHOC_REQUEST not in (run.asset_selection or ()):
        return None
    return run.tags.get(PARTITION_TAG)


def newest_of_key(
    runs: "Iterable[dg.DagsterRun]", entries: "Iterable[ReportEntry]"
) -> "dict[str, dg.DagsterRun]":
    """The newest of the runs that were started for each request as it is now, by name.

    runs: newest first
    """
    run_keys = {entry.name: entry.run_key for entry in entries}
    found: dict[str, dg.DagsterRun] = {}
    for run in runs:
        name = report_of(run)
        if name in run_keys and run.tags.get(RUN_KEY_TAG, "").startswith(run_keys[name]):
            found.setdefault(name, run)
    return found


def record(store: "ReportStore", run: "dg.DagsterRun", error: str) -> None:
    """Write that a run failed, unless it did so itself or Dagster will retry it."""
    name = report_of(run)
    if not name or run.tags.get("dagster/will_retry") == "true":
        return
    content = store.read_request(f"{name}{SUFFIX}")
    if lost := outcome_of(run, error, store.read_outcome(name), content):
        store.write_outcome(name, lost)


def outcome_of(
    run: "dg.DagsterRun", error: str, before: Outcome | None, content: Content | None
) -> Outcome | None:
    """The outcome of a lost run; None where there is nothing to write.

    Where the request was deleted before its run began, it is a rejection without a file: the sensor
    removes that with the partition.

    before:  the outcome as it is stored
    content: of the request's file; None where it is gone
    """
    failed = {
        "status": Status.FAILED,
        "reason": explain_error([error]),
        "details": error,
        "updated": utc_now(),
        "run_id": run.run_id,
    }
    if before and before.run_id in (run.run_id, run.parent_run_id, run.root_run_id):
        is_lost = before.status is Status.GENERATING
        return before.model_copy(update=failed) if is_lost else None
    # The run ended before it wrote anything.
    name, run_key = report_of(run), run.tags.get(RUN_KEY_TAG, "")
    outcome = Outcome(
        status=Status.REJECTED,
        filename=f"{name}{SUFFIX}",
        content_hash=content.content_hash if content else "",
        request=content.question if content else None,
        reason="The request was deleted before its run began.",
        run_id=run.run_id,
    )
    if content is None:
        return outcome if run_key and before is None else None
    is_of_the_file = not run_key or run_key.startswith(f"{name} {content.content_hash} ")
    is_answered = before is not None and before.content_hash == content.content_hash
    if content.question is None or is_answered or not is_of_the_file:
        return None
    kept = before.report if before and before.request == content.question else None
    return outcome.model_copy(update={**failed, "report": kept})
