"""Many partitions at once: a backfill that is cancelled, and weeks that several runs write."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tests.backfills import launch_backfill, wait_for_backfill
from tests.faults.site import MONTHS, Site, load
from tests.faults.sound import assert_sound, of_lake
from tests.waiting import wait_for, wait_for_status

pytestmark = pytest.mark.slow

THREE_YEARS = [f"{year}-{month:02}-01" for year in (2020, 2021, 2022) for month in range(1, 13)]
WEEKS = [(date(2023, 1, 8) + timedelta(weeks=number)).isoformat() for number in range(8)]


@pytest.mark.fault(
    "a backfill of 36 months that is cancelled midway, and launched again",
    "its run ends; months that are in the lake stay, and the others follow",
    "launches it again",
)
def test_cancelled_backfill_goes_on_when_launched_again(tmp_path: Path) -> None:
    limits = {"TAXI_START_DATE": THREE_YEARS[0], "TAXI_END_DATE": "2023-01-01"}
    site = Site.make(tmp_path, rows=1, **limits)
    site.publish(10_000, THREE_YEARS)
    with site.instance(served=["ingestion"]) as instance:
        first = launch_backfill(instance.graphql, THREE_YEARS)
        wait_for(lambda: len(of_lake(site, "trips")) > 2, "the load of three months")
        (run_id,) = instance.graphql.runs_of_backfill(first)
        # The daemon cancels the runs of a backfill when it next looks, every 5 seconds.
        for mutation, cancelled in (
            ("cancelPartitionBackfill(backfillId: $id)", first),
            ("terminateRun(runId: $id)", run_id),
        ):
            query = f"mutation ($id: String!) {{ {mutation} {{ __typename }} }}"
            instance.graphql.ask(query, id=cancelled)
        assert wait_for_backfill(instance.graphql, first)["status"] == "CANCELED"
        assert len(of_lake(site, "trips")) < len(THREE_YEARS)
        again = launch_backfill(instance.graphql, THREE_YEARS)
        assert wait_for_backfill(instance.graphql, again)["status"] == "COMPLETED_SUCCESS"
        assert_sound(site, instance, THREE_YEARS)


@pytest.mark.fault(
    "eight weeks at once from several runs",
    "each run writes its week, one after the other; no row is lost or doubled",
    "nothing",
)
def test_weeks_of_several_runs_are_all_there(site: Site) -> None:
    with site.instance() as instance:
        load(instance)
        runs = [
            instance.graphql.launch(
                "analytics", "weekly_update_job", tags={"dagster/partition": week}
            )
            for week in WEEKS
        ]
        for run_id in runs:
            assert wait_for_status(instance.graphql, run_id) == "SUCCESS"
        found = pd.read_csv(site.data / "outputs" / "trips_by_week.csv", dtype={"period": str})
        numbers = found[found["period"].isin(WEEKS)].set_index("period")["num_trips"]
        assert numbers.to_dict() == trips_of_weeks(site)
        assert numbers.index.is_unique


def trips_of_weeks(site: Site) -> dict[str, int]:
    """The trips that were picked up in each week, in the files of the source."""
    column = "tpep_pickup_datetime"
    files = [site.source / "trip-data" / f"yellow_tripdata_{month[:7]}.parquet" for month in MONTHS]
    times = pd.concat(pd.read_parquet(file, columns=[column])[column] for file in files)
    week = pd.Timedelta(weeks=1)
    begins = [pd.Timestamp(day) for day in WEEKS]
    return {
        str(begin.date()): int(((times >= begin) & (times < begin + week)).sum())
        for begin in begins
    }
