"""Adjacent partitions are requested as one run."""

from dagster import PartitionKeyRange

from taxi_shared.ranges import run_requests

WEEKS = ["2019-01-06", "2019-01-13", "2019-01-20", "2019-01-27"]


def test_adjacent_partitions_are_one_run() -> None:
    both, single = run_requests(["2019-01-13", "2019-01-06", "2019-01-27"], WEEKS, "today")
    assert both.partition_key_range == PartitionKeyRange("2019-01-06", "2019-01-13")
    assert both.run_key == "2019-01-06 to 2019-01-13 today"
    assert single.partition_key == "2019-01-27"
    assert single.run_key == "2019-01-27 today"


def test_no_partitions_request_no_run() -> None:
    assert run_requests([], WEEKS, "today") == []
