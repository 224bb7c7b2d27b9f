"""A run's process is killed while it fetches and loads."""

import pytest

from tests.faults.site import Site, launch_load
from tests.faults.sound import assert_sound
from tests.waiting import wait_for

POINTS = [
    pytest.param(
        ("os.rename", r"raw/\.taxi_trips_2023-02\.parquet"),
        id="before the move of a download",
        marks=pytest.mark.fault(
            "kill -9 before a download is moved into place",
            "the run fails and is tried again once; the file is fetched again",
            "nothing",
        ),
    ),
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_run_is_tried_again(site: Site, point: tuple[str, str]) -> None:
    with site.instance() as instance:
        site.arm(*point)
        first = launch_load(instance)
        site.wait_until_hit()

        def succeeded() -> bool:
            runs = instance.graphql.runs_of("ingestion", "trip_update_job")
            return runs.pop(first, "") == "FAILURE" and "SUCCESS" in runs.values()

        wait_for(succeeded, "the success of the second try")
        assert_sound(site, instance)
