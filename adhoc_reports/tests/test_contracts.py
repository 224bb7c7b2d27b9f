"""This location uses the promised columns of other teams' tables: all of them, and no others."""

import shutil
from pathlib import Path

import duckdb
import pytest

from adhoc_reports.definitions import defs
from adhoc_reports.lib.outcome import Report
from taxi_shared.contracts import violations
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_testing.contracts import keep_promised_columns, promised_columns

from . import real_months
from .test_kinds import answer, ask

GREEN = {"service": "green", "start_date": "2024-01-03", "end_date": "2024-01-30"}
HIRE = {"start_date": "2019-02-03", "end_date": "2019-02-27"}
QUESTIONS = [
    ask(),
    ask(measure="tip_share", side="dropoff"),
    ask(measure="speed"),
    ask(kind="map", measure="fare"),
    ask(**GREEN),
    ask(measure="tip_share", side="dropoff", **GREEN),
    ask(measure="speed", **GREEN),
    *(ask(service=service, **HIRE) for service in ("fhvhv", "fhv")),
    *(ask(service=s, measure="duration", side="dropoff", **HIRE) for s in ("fhvhv", "fhv")),
    ask(service="fhvhv", measure="tip_share", **HIRE),
    ask(service="fhvhv", measure="speed", **HIRE),
]


def test_definitions_rely_on_promises_alone() -> None:
    assert violations("adhoc_reports", defs) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose lake has every column."""
    root = tmp_path_factory.mktemp("whole")
    real_months.write(Lake(DataRoot.at(str(root))))
    return root


def answers(root: Path) -> list[Report]:
    database = LakeDatabase(data_root=str(root))
    reports = [answer(database, question) for question in QUESTIONS]
    return [each.model_copy(update={"generated": None, "coverage": None}) for each in reports]


def test_promised_columns_are_enough(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    keep_promised_columns(Lake(DataRoot.at(str(tmp_path))), "adhoc_reports")
    assert answers(tmp_path) == answers(whole)


@pytest.mark.parametrize("column", promised_columns("adhoc_reports"), ids=".".join)
def test_each_promised_column_is_needed(
    whole: Path, tmp_path: Path, column: tuple[str, str]
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    keep_promised_columns(Lake(DataRoot.at(str(tmp_path))), "adhoc_reports", without=column)
    with pytest.raises(duckdb.Error, match=column[1]):
        answers(tmp_path)
