"""Runs start at once where there is room; on ECS and Kubernetes they cannot choose how."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.dagster_run import RunOpConcurrency

from taxi_shared.ranges import UNFINISHED
from taxi_shared.run_coordinator import (
    LAUNCHER_TAGS,
    PROMPT_RUNS,
    LauncherTagGuard,
    PromptRunCoordinator,
)
from taxi_shared.warm_runs import WarmRunLauncher

CONFIG = """
run_launcher: {module: taxi_shared.warm_runs, class: WarmRunLauncher, config: {}}
run_coordinator: {module: taxi_shared.run_coordinator, class: PromptRunCoordinator, config: {}}
"""
QUEUED = "the queue of Dagster has it"
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1), "any"), "any"
)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance whose runs have a warm parent, which marks them as started."""

    def start(self: WarmRunLauncher, context: LaunchRunContext) -> None:
        self._instance.handle_run_event(context.dagster_run.run_id, started, None)

    started = dg.DagsterEvent("PIPELINE_START", "any")
    (tmp_path / "dagster.yaml").write_text(CONFIG)
    monkeypatch.setattr(WarmRunLauncher, "has_parent", lambda *_: True)
    monkeypatch.setattr(WarmRunLauncher, "launch_run", start)
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda *_: QUEUED)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def submitted(instance: dg.DagsterInstance, pools: RunOpConcurrency | None = None) -> object:
    """The run that was launched, or QUEUED."""
    run = instance.add_run(dg.DagsterRun(job_name="any", run_op_concurrency=pools))
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, PromptRunCoordinator)
    return coordinator.submit_run(dg.SubmitRunContext(run, workspace=MagicMock()))


def test_run_starts_at_once_while_few_are_in_progress(instance: dg.DagsterInstance) -> None:
    submissions = [submitted(instance) for _ in range(PROMPT_RUNS + 1)]
    assert [each == QUEUED for each in submissions] == [*[False] * PROMPT_RUNS, True]


def test_run_does_not_overtake_one_in_the_queue(instance: dg.DagsterInstance) -> None:
    waiting = dg.DagsterRunStatus.QUEUED
    instance.add_run(dg.DagsterRun(job_name="any", status=waiting, remote_job_origin=ORIGIN))
    assert submitted(instance) == QUEUED


POOL = RunOpConcurrency(
    root_key_counts={"lake": 1}, has_unconstrained_root_nodes=False, all_pools={"lake"}
)


def test_run_of_a_pool_starts_at_once_where_it_is_alone(instance: dg.DagsterInstance) -> None:
    assert submitted(instance, POOL) != QUEUED
    assert submitted(instance, POOL) == QUEUED


@pytest.mark.parametrize("status", UNFINISHED)
def test_run_of_a_pool_waits_for_any_other(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    instance.add_run(dg.DagsterRun(job_name="any", status=status, remote_job_origin=ORIGIN))
    assert submitted(instance, POOL) == QUEUED


def test_run_without_a_parent_waits_in_the_queue(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WarmRunLauncher, "has_parent", lambda *_: False)
    assert submitted(instance) == QUEUED


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
