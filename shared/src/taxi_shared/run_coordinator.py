"""The queue of runs where launchers take instructions from a run's tags: ECS and Kubernetes.

Named by deploy/ecs/dagster.yaml and the values of deploy/helm. Elsewhere no launcher reads such
tags, and Dagster's own `QueuedRunCoordinator` serves.
"""

import dagster as dg

# With these tags, anyone who may start a run could choose its command, role or volumes.
LAUNCHER_TAGS = (
    "ecs/container_overrides",
    "ecs/task_overrides",
    "ecs/run_task_kwargs",
    "dagster-k8s/config",
)


class LauncherTagGuard(dg.QueuedRunCoordinator):
    """Dagster's queue, which refuses runs that have one of LAUNCHER_TAGS.

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
