"""Runs that ended without writing an outcome, because their process was killed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adhoc_reports.lib.failure import explain_error
from adhoc_reports.lib.outcome import Outcome, Status, utc_now
from adhoc_reports.lib.request import SUFFIX
from adhoc_reports.lib.request_files import Content
from taxi_shared import keys

if TYPE_CHECKING:
    import dagster as dg

    from adhoc_reports.lib.store import ReportStore

JOB = "adhoc_request_job"


def report_of(run: "dg.DagsterRun") -> str | None:
    """The name of the report that a run generates; None for runs of other assets."""
    if run.job_name != JOB and keys.ADHOC_REQUEST not in (run.asset_selection or ()):
        return None
    return run.tags.get("dagster/partition")


def record(store: "ReportStore", run: "dg.DagsterRun", errors: Sequence[str]) -> None:
    """Write that a run failed, unless it did so itself or Dagster will retry it."""
    name = report_of(run)
    if not name or run.tags.get("dagster/will_retry") == "true":
        return
    content = store.read_request(f"{name}{SUFFIX}")
    lost = outcome_of(run, store.read_outcome(name), content)
    if lost and not lost.reason:
        reason = {"reason": explain_error(errors), "details": errors[-1]}
        lost = lost.model_copy(update=reason)
    if lost:
        store.write_outcome(name, lost)


def outcome_of(
    run: "dg.DagsterRun", before: Outcome | None, content: Content | None
) -> Outcome | None:
    """The outcome of a lost run, mostly without a reason; None where there is nothing to write.

    Where the request was deleted before its run began, it is a rejection without a file: the sensor
    removes that with the partition.

    before:  the outcome as it is stored
    content: of the request's file; None where it is gone
    """
    runs = {run.run_id, run.parent_run_id, run.root_run_id}
    if before and before.run_id in runs:
        if before.status is not Status.GENERATING:
            return None
        return before.model_copy(
            update={"status": Status.FAILED, "run_id": run.run_id, "updated": utc_now()}
        )
    # The run ended before it wrote anything.
    name = report_of(run)
    run_key = run.tags.get("dagster/run_key", "")
    if content is None and before is None and run_key:
        return Outcome(
            status=Status.REJECTED,
            filename=f"{name}{SUFFIX}",
            content_hash="",
            request=None,
            reason="The request was deleted before its run began.",
            run_id=run.run_id,
        )
    if content is None or content.question is None:
        return None
    is_of_the_file = not run_key or run_key.startswith(f"{name} {content.content_hash} ")
    if not is_of_the_file or (before and before.content_hash == content.content_hash):
        return None
    keeps = before and before.request == content.question
    return Outcome(
        status=Status.FAILED,
        filename=f"{name}{SUFFIX}",
        content_hash=content.content_hash,
        request=content.question,
        run_id=run.run_id,
        report=before.report if before and keeps else None,
    )
