"""Services of Spark run jobs: real clients, and services on this machine that start processes.

Spark itself runs for one service; for the others DuckDB computes the answers of the same question.
The question, the answer, the script and its packages go through S3. The services and their logins
are not the real ones, and jobs read copies of the lake's files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, NoAnswer, Question, spark_services
from taxi_shared.engines.choice import engine, engine_class, variable
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.spark_services import Emr, Glue, SparkService
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_testing.cancelled_runs import cancel_while_asking
from taxi_testing.object_store import S3Server
from taxi_testing.questions import question, write_lake
from taxi_testing.spark_services import TOKEN, SparkServices, google_keys
from taxi_testing.spark_services import spark_services as services_here

ROOT = Path(__file__).parents[2]
SPARK_PYTHON = ROOT / ".tools" / "spark" / "bin" / "python"
SETTINGS: dict[str, dict[str, str]] = {
    "emr-serverless": {"application_id": "00f1", "role_arn": "arn:aws:iam::1:role/spark-jobs"},
    "emr": {"cluster_id": "j-1", "options": "--conf spark.executor.cores=2"},
    "glue": {"job_name": "taxi"},
    "dataproc": {"project": "taxis", "region": "us-central1", "cluster": "small"},
    "databricks": {"cluster_id": "0923-164208"},
}

OPEN = """
import sys, time
import boto3
from dagster_pipes import (
    PipesCliArgsParamsLoader, PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes
)
client = boto3.client("s3")
pipes = open_dagster_pipes(
    params_loader=PipesCliArgsParamsLoader(),
    context_loader=PipesS3ContextLoader(client),
    message_writer=PipesS3MessageWriter(client, interval=0),
)
"""
ANSWERS = """
import re
import duckdb
with pipes:
    print("reading trips")
    asked = pipes.get_extra("question")
    con = duckdb.connect()
    for table in asked["tables"]:
        files = ", ".join(f"'{file}'" for file in table["files"])
        con.execute(f"CREATE VIEW {table['name']} AS FROM read_parquet([{files}])")
    values = {name: each["value"] for name, each in asked["parameters"].items()}
    found = con.execute(re.sub(r":(\\w+)", r"$\\1", asked["sql"]), values)
    columns = {name: "" for name, *_ in found.description}
    rows = [[None if value is None else str(value) for value in row] for row in found.fetchall()]
    pipes.report_custom_message({"version": "of a test", "columns": columns, "rows": rows})
"""
FAILS = """
with pipes:
    print("reading trips")
    raise ValueError("a file is damaged")
"""
WAITS = """
with pipes:
    while True:
        time.sleep(0.1)
"""


@dataclass(frozen=True)
class Setting:
    lake: Lake
    services: SparkServices
    folder: Path

    def engine(self, name: str, script: str = "") -> SparkService:
        """An engine whose jobs run a script of the test."""
        given = SETTINGS[name] | {
            "dataproc": {"endpoint": self.services.address},
            "databricks": {"host": self.services.address},
        }.get(name, {})
        if script:
            (self.folder / "script.py").write_text(script)
            given["script"] = str(self.folder / "script.py")
        chosen = engine_class(name)(database=self.database, **given)
        assert isinstance(chosen, SparkService)
        return chosen

    @property
    def database(self) -> LakeDatabase:
        return LakeDatabase(data_root=str(self.lake.root.base))

    @property
    def question(self) -> Question[Any]:
        return question(self.lake, "trips_by_week")

    @property
    def left(self) -> list[str]:
        """The files that jobs have left below the data root."""
        folder = self.lake.root.base / "engines"
        # SeaweedFS lists a folder that has become empty.
        return [name for name in folder.fs.find(folder.path) if name.count(".")]

    def states(self) -> set[str]:
        return {job.state for job in self.services.jobs.values()}


@pytest.fixture
def setting(
    s3_root: str, object_store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setting]:
    monkeypatch.setattr(spark_services, "FIRST_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(spark_services, "LONGEST_WAIT_SECONDS", 0.5)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("TAXI_DATABRICKS_TOKEN", TOKEN)
    lake = Lake(DataRoot.at(s3_root))
    write_lake(lake)
    folder = tmp_path / "services"
    folder.mkdir()
    with services_here(folder) as services:
        for name, value in services.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_keys(services)))
        yield Setting(lake, services, tmp_path)


def materialize(chosen: SparkService, asked: Question[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Ask in the run of an asset. Returns the rows, and the details of the answer."""
    found: list[Any] = []

    @dg.asset
    def metric(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        answer = chosen.ask(context, asked)
        found.extend(answer.rows)
        return dg.MaterializeResult(metadata=answer.details)

    with dg.DagsterInstance.ephemeral() as instance:
        try:
            dg.materialize([metric], instance=instance)
        finally:
            event = instance.get_latest_materialization_event(metric.key)
    assert (event is not None) == bool(found)
    materialization = event and event.asset_materialization
    assert materialization
    return found, {name: value.value for name, value in materialization.metadata.items()}


def by_duckdb(asked: Question[Any]) -> list[Any]:
    database = LakeDatabase(data_root=str(asked.lake.root.base))
    return DuckDB(database=database).ask(dg.build_asset_context(), asked).rows


@pytest.mark.spark
def test_spark_of_a_service_answers_as_duckdb(setting: Setting) -> None:
    setting.services.python = str(SPARK_PYTHON)
    asked = setting.question
    rows, details = materialize(setting.engine("emr-serverless"), asked)
    assert rows == by_duckdb(asked)
    assert len(rows) > 1
    assert details["engine"].startswith("Spark 4")
    assert setting.left == []


@pytest.mark.parametrize("name", SETTINGS)
def test_question_and_answer_reach_every_service(
    setting: Setting, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = setting.question
    chosen = setting.engine(name, OPEN + ANSWERS)
    rows, details = materialize(chosen, asked)
    assert rows == by_duckdb(asked)
    assert len(rows) > 1
    assert details["engine"] == "Spark of a test"
    assert details["job"] in setting.services.jobs
    assert details["job page"].startswith(("https://", setting.services.address))
    logged = capsys.readouterr()
    assert f"is {chosen.succeeded}: {details['job page']}" in logged.err
    assert "reading trips" in logged.out
    assert setting.left == []


@pytest.mark.parametrize("name", SETTINGS)
def test_failed_job_gives_the_reason_of_the_service(setting: Setting, name: str) -> None:
    reason = r"trips_by_week: job .* of \w+ is (FAILED|ERROR): .*ValueError: no memory"
    with pytest.raises(NoAnswer, match=reason):
        materialize(setting.engine(name, "raise ValueError('no memory')"), setting.question)
    assert setting.left == []


def test_output_of_a_failed_job_is_logged(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NoAnswer, match="is FAILED: ValueError: a file is damaged"):
        materialize(setting.engine("glue", OPEN + FAILS), setting.question)
    assert "reading trips" in capsys.readouterr().out
    assert setting.left == []


@pytest.mark.parametrize("name", SETTINGS)
def test_job_that_ends_without_an_answer_fails(setting: Setting, name: str) -> None:
    with pytest.raises(NoAnswer, match="the job of Spark ended without an answer"):
        materialize(setting.engine(name, "pass"), setting.question)
    assert setting.states() == {"succeeded"}
    assert setting.left == []


@pytest.mark.parametrize("name", SETTINGS)
def test_cancelled_run_stops_its_job(setting: Setting, name: str) -> None:
    chosen = setting.engine(name, OPEN + WAITS)
    asked = setting.question
    assert not cancel_while_asking(chosen, asked, lambda: "running" in setting.states())
    assert setting.states() == {"stopped"}
    assert setting.left == []


def test_run_cancelled_while_its_job_starts_stops_it(setting: Setting) -> None:
    setting.services.delay = 1
    chosen = setting.engine("emr", OPEN + WAITS)
    assert not cancel_while_asking(chosen, setting.question, lambda: bool(setting.services.jobs))
    assert setting.states() == {"stopped"}
    assert setting.left == []


def test_job_that_goes_on_after_a_cancellation_is_logged(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spark_services, "STOP_SECONDS", 0)
    monkeypatch.setattr(Glue, "stop", lambda *_: None)
    chosen = setting.engine("glue", OPEN + WAITS)
    assert not cancel_while_asking(chosen, setting.question, lambda: "running" in setting.states())
    assert "is RUNNING; see https://eu-central-1.console.aws" in capsys.readouterr().err


def test_service_that_is_busy_is_asked_again(setting: Setting) -> None:
    setting.services.busy = 2
    with pytest.raises(NoAnswer, match="without an answer"):
        materialize(setting.engine("databricks", "pass"), setting.question)
    assert len(setting.services.jobs) == 2  # one job, by its two ids
    assert setting.services.busy == 0


def test_refused_token_is_an_error_without_the_token(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_DATABRICKS_TOKEN", "dapi-wrong")
    with pytest.raises(NoAnswer, match=r"answers 403: .*Invalid access token") as error:
        materialize(setting.engine("databricks", "pass"), setting.question)
    assert "dapi-wrong" not in str(error.value)
    assert setting.left == []


def test_data_root_of_one_machine_is_refused(setting: Setting, tmp_path: Path) -> None:
    lake = Lake(DataRoot.at(str(tmp_path / "data")))
    write_lake(lake)
    database = LakeDatabase(data_root=str(tmp_path / "data"))
    chosen = Emr(database=database, cluster_id="j-1")
    with pytest.raises(NoAnswer, match="which a job elsewhere cannot read; expected s3://bucket"):
        materialize(chosen, question(lake, "trips_by_week"))
    assert setting.services.calls == []


def test_environment_configures_a_service(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field, value in SETTINGS["emr-serverless"].items():
        monkeypatch.setenv(variable("emr-serverless", field), value)
    monkeypatch.setenv("TAXI_EMR_SERVERLESS_OPTIONS", "--conf spark.driver.memory=2g")
    monkeypatch.setenv("TAXI_DATA_ROOT", setting.database.data_root)
    chosen = engine("emr-serverless", setting.database)

    @dg.asset
    def metric(context: dg.AssetExecutionContext, asks: dg.ResourceParam[Engine]) -> None:
        asks.ask(context, setting.question)

    with pytest.raises(NoAnswer, match=r"is FAILED: ModuleNotFoundError: .*pyspark"):
        dg.materialize([metric], resources={"asks": chosen})
    started, *_ = setting.services.requests
    assert started["executionRoleArn"] == "arn:aws:iam::1:role/spark-jobs"
    options = started["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split()
    assert options[0] == "--py-files"
    assert options[2:] == ["--conf", "spark.driver.memory=2g"]
    assert started["jobDriver"]["sparkSubmit"]["entryPoint"].endswith("/spark_job.py")
