"""What the queue of runs refuses."""

import dagster as dg
import pytest

from taxi_shared.teams import LAUNCHER_TAGS, TeamRunCoordinator


@pytest.mark.parametrize("tag", LAUNCHER_TAGS)
def test_no_run_chooses_how_it_is_launched(tag: str):
    run = dg.DagsterRun(job_name="any", tags={tag: "{}", "dagster/code_location": "analytics"})
    with pytest.raises(dg.DagsterInvariantViolationError, match=tag):
        TeamRunCoordinator().submit_run(dg.SubmitRunContext(run, None))
