"""This location needs of other teams' tables what it was promised: no more, and no less."""

from pathlib import Path

import dagster as dg
import pytest
from small_lake import Trip, square, write_month, write_zones

from analytics.definitions import defs
from taxi_shared.contracts import violations
from taxi_shared.lake import Lake
from taxi_testing.contracts import keep_promised_columns, promised_columns


def test_definitions_use_only_promised_columns() -> None:
    assert violations("analytics", defs) == []


@pytest.fixture
def loaded(lake: Lake) -> Lake:
    write_month(lake, "2019-01-01", [Trip("2019-01-07 10:00:00", 4), Trip("2019-01-08 11:00:00")])
    write_zones(lake, [(4, "Alphabet City", "Manhattan", square(-73.98, 40.72))])
    return lake


def materialize_all() -> bool:
    jobs = {"weekly_update_job": "2019-01-06", "manhattan_update_job": None}
    return all(
        defs.resolve_job_def(name)
        .execute_in_process(
            instance=dg.DagsterInstance.ephemeral(), partition_key=week, raise_on_error=False
        )
        .success
        for name, week in jobs.items()
    )


def results(tmp_path: Path) -> list[bytes]:
    names = ("outputs/trips_by_week.csv", "staging/manhattan_stats.geojson")
    return [(tmp_path / name).read_bytes() for name in names]


def test_promised_columns_are_enough(loaded: Lake, tmp_path: Path) -> None:
    assert materialize_all()
    whole = results(tmp_path)
    keep_promised_columns(loaded, "analytics")
    assert materialize_all()
    assert results(tmp_path) == whole


@pytest.mark.parametrize("column", promised_columns("analytics"), ids=".".join)
def test_each_promised_column_is_needed(loaded: Lake, column: tuple[str, str]) -> None:
    keep_promised_columns(loaded, "analytics", without=column)
    assert not materialize_all()
