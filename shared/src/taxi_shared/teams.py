"""The tag `team` of every run. A team has the name of its code location.

`dagster.yaml` names the coordinator below. The UI, schedules, sensors, automation, backfills and
retries all submit their runs to it; tags of jobs would miss the runs that belong to no job.
"""

import dagster as dg

TEAM_TAG = "team"
LOCATION_TAG = "dagster/code_location"  # which Dagster puts on every run


class TeamRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue, which puts the team's tag on each run."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        self._instance.add_run_tags(run.run_id, {TEAM_TAG: run.tags[LOCATION_TAG]})
        return super().submit_run(context)
