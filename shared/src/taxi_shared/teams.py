"""The tag `team` of every run, and the tags that no run may have.

A team has the name of its code location.

`dagster.yaml` names the coordinator below. The UI, schedules, sensors, automation, backfills and
retries all submit their runs to it; tags of jobs would miss the runs that belong to no job.
"""

import dagster as dg

TEAM_TAG = "team"
LOCATION_TAG = "dagster/code_location"  # which Dagster puts on every run
# By these, launchers let a run choose its own command, environment, role or volumes.
LAUNCHER_TAGS = (
    "ecs/container_overrides",
    "ecs/task_overrides",
    "ecs/run_task_kwargs",
    "dagster-k8s/config",
)


class TeamRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue, which puts the team's tag on each run.

    It refuses runs with one of LAUNCHER_TAGS.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Raises dagster.DagsterInvariantViolationError that names the tags."""
        run = context.dagster_run
        if refused := [tag for tag in LAUNCHER_TAGS if tag in run.tags]:
            raise dg.DagsterInvariantViolationError(
                f"A run cannot have the tags {', '.join(refused)}: how runs are launched is set by "
                "the platform."
            )
        self._instance.add_run_tags(run.run_id, {TEAM_TAG: run.tags[LOCATION_TAG]})
        return super().submit_run(context)
