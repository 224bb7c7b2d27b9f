"""Runs on ECS and Kubernetes cannot choose how they are launched."""

from unittest.mock import MagicMock

import dagster as dg
import pytest

from taxi_shared.run_coordinator import LAUNCHER_TAGS, LauncherTagGuard


@pytest.mark.parametrize("tag", LAUNCHER_TAGS)
def test_run_with_launcher_tag_is_refused(tag: str) -> None:
    run = dg.DagsterRun(job_name="any", tags={tag: "{}"})
    context = dg.SubmitRunContext(run, workspace=MagicMock())
    with pytest.raises(dg.DagsterInvariantViolationError, match=tag):
        LauncherTagGuard().submit_run(context)


def test_other_run_goes_to_dagsters_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = MagicMock()
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", queue)
    run = dg.DagsterRun(job_name="any", tags={"team": "x"})
    context = dg.SubmitRunContext(run, workspace=MagicMock())
    assert LauncherTagGuard().submit_run(context) is queue.return_value
    queue.assert_called_once_with(context)
