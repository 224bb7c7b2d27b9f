"""The runs that follow a load of months: which assets, which partitions, in which order."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from taxi_platform.calendar import MonthRange
from taxi_platform.downstream import Batch, plan_batches
from taxi_platform.graphql import Asset

MONTHS = MonthRange.between("2023-01", "2023-02")
MONTHLY = tuple(f"2023-{month:02}-01" for month in range(1, 13))
SUNDAYS = tuple((date(2023, 1, 1) + timedelta(weeks=n)).isoformat() for n in range(52))


def asset(
    name: str, *upstream: str, location: str = "fares", partitions: Sequence[str] | None = None
) -> Asset:
    keys = None if partitions is None else tuple(partitions)
    return Asset(name, location, keys, frozenset(upstream))


def test_one_run_makes_a_locations_assets_without_partitions() -> None:
    assets = [asset("tolls", "trips"), asset("map", "tolls"), asset("tips", "trips", location="b")]
    assert plan_batches(assets, MONTHS) == [
        [Batch("fares", ("map", "tolls")), Batch("b", ("tips",))]
    ]


def test_months_and_full_weeks_are_ranges_of_partitions() -> None:
    assets = [asset("by_month", partitions=MONTHLY), asset("by_week", partitions=SUNDAYS)]
    (batches,) = plan_batches(assets, MONTHS)
    assert [(b.assets, b.partitions[0], b.partitions[-1]) for b in batches] == [
        (("by_month",), "2023-01-01", "2023-02-01"),
        (("by_week",), "2023-01-01", "2023-02-19"),
    ]
    assert {len(b.partitions) for b in batches} == {2, 8}


def test_january_of_2023_is_not_its_first_week() -> None:
    """The first day of the month is a Sunday, so it is a key of both."""
    january = MonthRange.between("2023-01", "2023-01")
    ((batch,),) = plan_batches([asset("by_week", partitions=SUNDAYS)], january)
    assert batch.partitions == SUNDAYS[:4]


@pytest.mark.parametrize("keys", [(), ("yellow", "green"), ("2023-01-02", "2023-01-03")])
def test_other_partitions_are_left_out(keys: tuple[str, ...]) -> None:
    assert plan_batches([asset("reports", partitions=keys)], MONTHS) == []


def test_partitions_that_do_not_exist_are_left_out() -> None:
    ((batch,),) = plan_batches([asset("by_month", partitions=MONTHLY[1:])], MONTHS)
    assert batch.partitions == ("2023-02-01",)


def test_asset_follows_what_it_depends_on_in_other_runs() -> None:
    assets = [
        asset("summary", "b_map", "weeks"),
        asset("b_map", "tolls", location="b"),
        asset("tolls", "trips"),
        asset("weeks", "trips", partitions=SUNDAYS),
    ]
    steps = [[batch.assets for batch in step] for step in plan_batches(assets, MONTHS)]
    assert steps == [[("tolls",), ("weeks",)], [("b_map",)], [("summary",)]]


def test_run_is_titled_by_what_it_makes() -> None:
    assert str(Batch("fares", ("a", "b"))) == "fares: a, b"
    assert str(Batch("fares", ("a",), ("2023-01-01",))) == "fares: a 2023-01-01"
    assert str(Batch("fares", ("a",), MONTHLY[:2])) == "fares: a from 2023-01-01 to 2023-02-01"
