"""What is recorded of a run that ended without writing its outcome."""

from collections.abc import Sequence

import dagster as dg
import pytest

from adhoc_reports.lib.lost_runs import outcome_of, report_of
from adhoc_reports.lib.outcome import Outcome, Status
from adhoc_reports.lib.request_files import Content, rejected
from taxi_shared import keys

from .conftest import QUESTION, REPORT, january_outcome

CONTENT = Content("now", QUESTION)
ERROR = "Run worker process exited unexpectedly"


def run(run_key: str = "", parent: str | None = None) -> dg.DagsterRun:
    tags = {"dagster/partition": "jan", "dagster/run_key": run_key}
    return dg.DagsterRun(
        "adhoc_request_job", "this run", tags=tags, parent_run_id=parent, root_run_id=parent
    )


def stored(status: Status, content_hash: str = "now", run_id: str = "this run") -> Outcome:
    return january_outcome(status, content_hash=content_hash, run_id=run_id)


def test_run_that_was_generating_has_failed() -> None:
    lost = outcome_of(run(), ERROR, stored(Status.GENERATING, "before"), CONTENT)
    assert lost
    assert (lost.status, lost.content_hash, lost.report) == (Status.FAILED, "before", REPORT)


def test_retry_that_wrote_nothing_ends_the_first_run() -> None:
    lost = outcome_of(
        run(parent="first"), ERROR, stored(Status.GENERATING, run_id="first"), CONTENT
    )
    assert lost
    assert (lost.status, lost.run_id) == (Status.FAILED, "this run")
    assert (lost.details, lost.reason[:25]) == (ERROR, "The process that generate")


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.REJECTED])
def test_run_that_wrote_its_end_is_left_alone(status: Status) -> None:
    assert outcome_of(run(), ERROR, stored(status), CONTENT) is None


@pytest.mark.parametrize("before", [None, stored(Status.DONE, "before", "another")])
def test_run_that_died_early_has_failed_for_the_file(before: Outcome | None) -> None:
    lost = outcome_of(run("jan now 77"), ERROR, before, CONTENT)
    assert lost
    assert (lost.status, lost.content_hash) == (Status.FAILED, "now")
    assert lost.report == (before.report if before else None)


@pytest.mark.parametrize(
    ("run_key", "before", "content"),
    [
        ("jan before 77", None, CONTENT),  # the file has changed since: it is due anyway
        ("", stored(Status.DONE, run_id="another"), CONTENT),
        ("", None, None),
        ("", None, rejected("is empty")),
    ],
)
def test_run_that_died_early_leaves_other_outcomes(
    run_key: str, before: Outcome | None, content: Content | None
) -> None:
    assert outcome_of(run(run_key), ERROR, before, content) is None


def test_request_deleted_before_its_run_leaves_a_rejection() -> None:
    lost = outcome_of(run("jan before 77"), ERROR, None, None)
    assert lost
    assert (lost.status, lost.request) == (Status.REJECTED, None)
    assert lost.reason == "The request was deleted before its run began."


@pytest.mark.parametrize(
    ("job", "assets", "report"),
    [
        ("adhoc_request_job", None, "jan"),
        ("__ASSET_JOB", [keys.ADHOC_REQUEST], "jan"),
        ("__ASSET_JOB", [keys.TAXI_TRIPS], None),
        ("other_job", None, None),
    ],
)
def test_runs_of_reports_are_told_by_job_and_assets(
    job: str, assets: Sequence[dg.AssetKey] | None, report: str | None
) -> None:
    selection = frozenset(assets) if assets else None
    found = dg.DagsterRun(job, "1", tags={"dagster/partition": "jan"}, asset_selection=selection)
    assert report_of(found) == report
