"""Queues of runs for dagster.yaml and deploy/*/dagster.yaml."""

import dagster as dg

from taxi_shared.ranges import UNFINISHED
from taxi_shared.warm_runs import WarmRunLauncher

# In progress, with the one that starts. At most half of max_concurrent_runs: two processes that
# count the runs at the same time do not exceed that.
PROMPT_RUNS = 2
IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# With these tags, anyone who may start a run could choose its command, role or volumes.
LAUNCHER_TAGS = (
    "ecs/container_overrides",
    "ecs/task_overrides",
    "ecs/run_task_kwargs",
    "dagster-k8s/config",
)


class PromptRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue, except that a run for which there is room starts at once.

    The daemon looks at the queue once per second, which is as long as a report takes. There is room
    where a warm parent starts the run, none is queued, and few are in progress. A run in a pool has
    room where there is no other, nor one that is being submitted: of two such runs that are
    submitted at once, at least one sees the other, since both are in the database before.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Launch a run, or queue it."""
        run, workspace = context.dagster_run, context.workspace
        if workspace is None or not self._has_room(run):
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, workspace)

    def _has_room(self, run: dg.DagsterRun) -> bool:
        launcher = self._instance.run_launcher
        if run.status is not dg.DagsterRunStatus.NOT_STARTED:
            return False
        if not (isinstance(launcher, WarmRunLauncher) and launcher.has_parent(run)):
            return False
        if run.run_op_concurrency and run.run_op_concurrency.all_pools:
            found = self._instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=2)
            return [each.run_id for each in found] == [run.run_id]
        launched = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, *IN_PROGRESS])
        runs = self._instance.get_runs(launched, limit=PROMPT_RUNS)
        return len(runs) < PROMPT_RUNS and all(each.status in IN_PROGRESS for each in runs)


class LauncherTagGuard(dg.QueuedRunCoordinator):
    """Dagster's queue, which refuses runs that have one of LAUNCHER_TAGS.

    Named by deploy/ecs/dagster.yaml and the values of deploy/helm. Elsewhere no launcher reads such
    tags.

    The UI, schedules, sensors, automation, backfills and retries all submit their runs to it.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Queue a run. Raises dagster.DagsterInvariantViolationError that names refused tags."""
        if refused := [tag for tag in LAUNCHER_TAGS if tag in context.dagster_run.tags]:
            raise dg.DagsterInvariantViolationError(
                f"A run cannot have the tags {', '.join(refused)}: the platform sets how runs are "
                "launched. Remove the tags."
            )
        return super().submit_run(context)
