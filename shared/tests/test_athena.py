"""Athena answers as DuckDB does: boto3, and a service on this machine that runs the queries."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from taxi_shared import s3, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, NoAnswer, Question, cancelled_on_error
from taxi_shared.engines.athena import Athena, to_literal
from taxi_shared.engines.choice import engine
from taxi_shared.engines.local import DuckDB
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS
from taxi_testing.athena_service import AthenaService, athena_service
from taxi_testing.cancelled_runs import ENDLESS, cancel_while_asking
from taxi_testing.questions import SQL, question, write_lake, write_month


class Number(NamedTuple):
    num_trips: int


@dataclass(frozen=True)
class Setting:
    lake: Lake
    service: AthenaService
    athena: Athena
    duckdb: DuckDB

    def ask(self, asked: Question[Any]) -> list[Any]:
        return self.athena.ask(dg.build_asset_context(), asked).rows

    def ask_sql(self, sql: str) -> list[Any]:
        return self.ask(self.question(sql))

    def question(self, sql: str) -> Question[Number]:
        return Question("trips", sql, Number, self.lake.snapshot(), [TRIPS], {})

    @property
    def results(self) -> list[str]:
        """What lies where the service writes results."""
        folder = storage.path_at(self.athena.output)
        # SeaweedFS lists a folder that has become empty.
        return [path.name for path in storage.entries_below(folder) if path.name != folder.name]


@pytest.fixture(scope="module")
def lake_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(Lake(DataRoot.at(str(folder))))
    return folder


@pytest.fixture
def setting(
    lake_folder: Path, tmp_path: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setting]:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    s3.clear_caches()
    data = shutil.copytree(lake_folder, tmp_path / "data")  # a test changes it
    database = LakeDatabase(data_root=str(data))
    with athena_service(database) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", service.endpoint)
        athena = Athena(database=database, output=f"{s3_root}/results/")
        yield Setting(database.lake, service, athena, DuckDB(database=database))


@pytest.mark.parametrize("metric", SQL)
def test_athena_answers_as_duckdb(setting: Setting, metric: str) -> None:
    asked = question(setting.lake, metric)
    answer = setting.athena.ask(dg.build_asset_context(), asked)
    expected = setting.duckdb.ask(dg.build_asset_context(), asked)
    assert answer.rows == expected.rows
    assert [list(map(str, row)) for row in answer.rows] == [
        list(map(str, row)) for row in expected.rows
    ]
    assert len(answer.rows) > 1
    assert setting.results == []


def test_details_say_where_the_query_is_and_its_cost(setting: Setting) -> None:
    answer = setting.athena.ask(dg.build_asset_context(), question(setting.lake, "manhattan_stats"))
    (query,) = setting.service.queries
    assert answer.details == {
        "engine": "Athena engine version 3",
        "query": dg.MetadataValue.url(
            "https://eu-central-1.console.aws.amazon.com/athena/home?region=eu-central-1"
            f"#/query-editor/history/{query}"
        ),
        "bytes scanned": dg.MetadataValue.int(1234),
    }


def test_values_of_parameters_are_literals(setting: Setting) -> None:
    assert to_literal("Governor's Island") == "'Governor''s Island'"
    assert to_literal("") == "''"
    assert to_literal(date(2023, 1, 1)) == "DATE '2023-01-01'"
    setting.ask(question(setting.lake, "trips_by_week"))
    (query,) = setting.service.queries.values()
    assert query.request["ExecutionParameters"] == ["DATE '2023-01-01'", "DATE '2023-02-12'"]
    assert query.request["QueryExecutionContext"] == {"Database": "taxi"}
    assert query.request["WorkGroup"] == "primary"


def test_failed_query_gives_the_reason(setting: Setting) -> None:
    with pytest.raises(NoAnswer, match=r"trips: query .* is FAILED: SYNTAX_ERROR: .*tripz"):
        setting.ask_sql("SELECT COUNT(*) AS num_trips FROM tripz")
    assert setting.results == []


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT COUNT(*) AS number FROM trips", "the columns of the answer are number; expected"),
        ("SELECT CAST(1 AS DOUBLE) AS num_trips", "num_trips: floating-point numbers"),
        ("SELECT 'many' AS num_trips", "row 1 of the answer, num_trips"),
        ("SELECT i AS num_trips FROM range(10001) AS numbers(i)", "over 10,000 rows"),
    ],
)
def test_succeeded_query_with_another_answer_fails(
    setting: Setting, sql: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taxi_testing.athena_service.ROWS_PER_PAGE", 1000)
    with pytest.raises(NoAnswer, match=reason):
        setting.ask_sql(sql)
    assert setting.results == []


def test_answer_without_rows_has_no_rows(setting: Setting) -> None:
    assert setting.ask_sql("SELECT passenger_count AS num_trips FROM trips WHERE 1 = 0") == []


def test_cancelled_run_stops_the_query(setting: Setting) -> None:
    asked = replace(setting.question(ENDLESS), parameters={"remainder": "3"})
    assert not cancel_while_asking(
        setting.athena, asked, lambda: "GetQueryExecution" in setting.service.calls
    )
    (query,) = setting.service.queries.values()
    assert query.state == "CANCELLED"
    assert setting.results == []


def test_earlier_version_of_trips_is_refused(setting: Setting) -> None:
    asked = replace(question(setting.lake, "trips_by_week"), lake=setting.lake.snapshot((TRIPS, 1)))
    with pytest.raises(NoAnswer, match="reads the current version of trips; expected version 1"):
        setting.ask(asked)
    assert setting.service.calls == []


def test_change_of_the_lake_meanwhile_is_logged(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = question(setting.lake, "trips_by_week")
    setting.ask(asked)
    assert "changed while" not in capsys.readouterr().err
    assert asked.lake.versions(TRIPS)  # read before the load
    write_month(setting.lake, "2023-02-01", 50)
    setting.ask(asked)
    assert "trips 2023-02-01 changed while Athena computed the answer" in capsys.readouterr().err


def test_result_that_stays_is_logged_and_answered(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(storage, "remove", refuse)
    assert setting.ask(question(setting.lake, "manhattan_stats"))
    assert "was not removed: Access Denied" in capsys.readouterr().err


def test_error_of_a_cancellation_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    def cancel() -> None:
        raise ConnectionError("no network")

    with (
        pytest.raises(KeyboardInterrupt),
        cancelled_on_error(dg.build_asset_context(), cancel),
    ):
        raise KeyboardInterrupt
    assert "could not be cancelled (no network); it may still run" in capsys.readouterr().err


def test_environment_configures_athena(
    setting: Setting, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = LakeDatabase(data_root=f"{s3_root}/data")
    write_lake(database.lake)
    monkeypatch.setenv("TAXI_DATA_ROOT", database.data_root)
    monkeypatch.setenv("TAXI_ATHENA_OUTPUT", setting.athena.output)
    monkeypatch.setenv("TAXI_ATHENA_WORKGROUP", "metrics")
    found: list[Any] = []

    @dg.asset
    def trips(context: dg.AssetExecutionContext, trips_engine: dg.ResourceParam[Engine]) -> None:
        found.extend(trips_engine.ask(context, question(database.lake, "trips_by_week")).rows)

    chosen = engine("athena", database)
    assert dg.materialize([trips], resources={"trips_engine": chosen}).success
    (query,) = setting.service.queries.values()
    assert query.request["WorkGroup"] == "metrics"
    assert len(found) > 1
    assert setting.results == []
