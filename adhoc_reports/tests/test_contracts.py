"""This location needs of other teams' tables what it was promised: no more, and no less."""

from datetime import datetime

import pytest

from adhoc_reports.definitions import defs
from taxi_shared.contracts import broken
from taxi_testing.contracts import keep_promised_columns, promised_columns

from .conftest import write_trips, write_zones
from .test_adhoc_request import run


def test_the_definitions_rely_on_what_is_promised():
    assert broken("adhoc_reports", defs) == []


@pytest.fixture
def loaded(lake):
    write_zones(lake)
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 9)), (7, datetime(2023, 1, 11, 9))])
    return lake


def test_the_promised_columns_are_enough(office, loaded):
    run(office)
    whole = (office.root.outputs / "jan.csv").read_text()
    keep_promised_columns(loaded, "adhoc_reports")
    run(office)
    assert (office.root.outputs / "jan.csv").read_text() == whole


@pytest.mark.parametrize("column", promised_columns("adhoc_reports"), ids=".".join)
def test_each_of_them_is_needed(office, loaded, column):
    keep_promised_columns(loaded, "adhoc_reports", without=column)
    run(office, expect_success=False)
