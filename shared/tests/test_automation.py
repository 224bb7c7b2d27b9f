"""The automation that locations share reacts to new data, and to nothing else."""

from typing import Any

import dagster as dg
import pytest

from taxi_shared.automation import automation_sensor, eager_on_new_data, eager_on_new_months
from taxi_shared.partitions import monthly
from taxi_shared.versions import DATA_VERSION

TRIPS = dg.AssetSpec("taxi_trips", partitions_def=monthly())
ZONES = dg.AssetSpec("taxi_zones")
ALL_MONTHS = dg.AssetDep(TRIPS, partition_mapping=dg.AllPartitionMapping())


@dg.asset(deps=[ZONES], automation_condition=eager_on_new_data())
def names() -> None:
    """An asset of zones."""


@dg.asset(deps=[ALL_MONTHS], automation_condition=eager_on_new_months())
def totals() -> None:
    """An asset of all months."""


class Platform:
    """Evaluates the conditions, and materializes what they request."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None

    def load(self, asset: dg.AssetSpec, content: str, partition: str | None = None) -> None:
        tags = {DATA_VERSION: content}
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset.key, partition=partition, tags=tags)
        )

    def requested(self) -> list[str]:
        defs = dg.Definitions([TRIPS, ZONES, names, totals])
        found = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        requested = [asset for asset in (names, totals) if found.get_num_requested(asset.key)]
        if requested:
            assert dg.materialize(requested, instance=self.instance).success
        return [asset.key.to_user_string() for asset in requested]


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_only_a_new_data_version_requests_an_asset(platform: Platform) -> None:
    assert platform.requested() == []
    platform.load(ZONES, "first")
    assert platform.requested() == ["names"]
    platform.load(ZONES, "first")
    assert platform.requested() == []
    platform.load(ZONES, "second")
    assert platform.requested() == ["names"]


def test_one_of_many_missing_months_is_enough(platform: Platform) -> None:
    assert platform.requested() == []
    platform.load(TRIPS, "first", "2023-01-01")
    assert platform.requested() == ["totals"]
    platform.load(TRIPS, "first", "2023-01-01")
    assert platform.requested() == []
    platform.load(TRIPS, "first", "2023-02-01")
    assert platform.requested() == ["totals"]


def test_automation_sensor_is_named_and_runs_by_default() -> None:
    sensor = automation_sensor("analytics", interval_seconds=10)
    assert sensor.name == "analytics_automation_sensor"
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 10
