"""This location uses the promised columns of other teams' tables: all of them, and no others."""

from datetime import datetime

import pytest

from adhoc_reports.definitions import defs
from taxi_shared.contracts import violations
from taxi_shared.lake import Lake
from taxi_testing.contracts import keep_promised_columns, promised_columns

from .conftest import Intake, write_trips, write_zones


def test_definitions_rely_on_promises_alone() -> None:
    assert violations("adhoc_reports", defs) == []


@pytest.fixture
def promised(intake: Intake, lake: Lake) -> Lake:
    """A lake with a request to answer."""
    write_zones(lake)
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 9)), (7, datetime(2023, 1, 11, 9))])
    intake.put("jan.json")
    return lake


def test_promised_columns_are_enough(intake: Intake, promised: Lake) -> None:
    assert intake.run("jan").success
    whole = (intake.root.outputs / "jan.csv").read_text()
    keep_promised_columns(promised, "adhoc_reports")
    assert intake.run("jan").success
    assert (intake.root.outputs / "jan.csv").read_text() == whole


@pytest.mark.parametrize("column", promised_columns("adhoc_reports"), ids=".".join)
def test_each_promised_column_is_needed(
    intake: Intake, promised: Lake, column: tuple[str, str]
) -> None:
    keep_promised_columns(promised, "adhoc_reports", without=column)
    assert not intake.run("jan").success
