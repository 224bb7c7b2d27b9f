"""Runs on ECS and Kubernetes cannot choose how they are launched."""

import dagster as dg
import pytest

from taxi_shared.run_coordinator import LAUNCHER_TAGS, LauncherTagGuard


@pytest.mark.parametrize("tag", LAUNCHER_TAGS)
def test_run_with_launcher_tag_is_refused(tag: str) -> None:
    run = dg.DagsterRun(job_name="any", tags={tag: "{}"})
    with pytest.raises(dg.DagsterInvariantViolationError, match=tag):
        LauncherTagGuard().submit_run(dg.SubmitRunContext(run, None))


def test_other_run_goes_to_dagsters_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda self, context: context)
    context = dg.SubmitRunContext(dg.DagsterRun(job_name="any", tags={"team": "x"}), None)
    assert LauncherTagGuard().submit_run(context) is context
