"""Partitions side by side are asked for as one run."""

from dagster import PartitionKeyRange

from taxi_shared.ranges import run_requests

WEEKS = ["2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27"]


def test_partitions_side_by_side_are_one_run_and_a_gap_begins_another():
    both, single = run_requests(["2019-01-13", "2019-01-06", "2019-01-27"], WEEKS, "today")
    assert both.partition_key_range == PartitionKeyRange("2019-01-06", "2019-01-13")
    assert both.run_key == "2019-01-06 to 2019-01-13 today"
    assert single.partition_key == "2019-01-27"
    assert single.run_key == "2019-01-27 today"


def test_no_partitions_are_no_runs():
    assert run_requests([], WEEKS, "today") == []
