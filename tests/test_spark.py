"""Questions that a cluster of Spark answers for a started instance, and what happens to its jobs.

`make spark-environment` makes the environments; with Java, they are all that is needed.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from rich.console import Console

from taxi_platform import spark
from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.spark import Cluster, SparkError, check_installed
from taxi_platform.workspace import ROOT
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, NoAnswer, Question
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.spark import JOB, SparkSubmit
from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS
from taxi_testing.lakes import Month
from taxi_testing.questions import SQL, question, write_lake
from tests.captured_logs import read_stderr
from tests.waiting import wait_for, wait_for_status

pytestmark = [pytest.mark.spark, pytest.mark.xdist_group("spark")]

MONTHS = MonthRange.between("2019-01", "2019-03")
STATS = JobSubset("manhattan_update_job", ["manhattan_stats"])
FILES = (
    "outputs/trips_by_week.csv",
    "staging/manhattan_stats.geojson",
    "outputs/manhattan.csv",
)
VERSIONS = {"4": ROOT / ".tools" / "spark", "3.5": ROOT / ".tools" / "spark-3"}


@dataclass(frozen=True)
class OnSpark:
    """An instance whose questions go to a cluster, over TLC's real files."""

    cluster: Cluster
    instance: Instance
    root: Path

    def results(self) -> dict[str, bytes]:
        return {name: (self.root / name).read_bytes() for name in FILES}

    def start_stats(self) -> str:
        """Launch a run of the zone statistics, and wait until the cluster works for it."""
        run_id = self.instance.graphql.launch("analytics", STATS)
        wait_for(self.running_jobs, "a job on the cluster")
        return run_id

    def running_jobs(self) -> list[str]:
        """The jobs of the cluster that have executors."""
        jobs = self.cluster.read_state()["activeapps"]
        return [job["name"] for job in jobs if job["state"] == "RUNNING"]

    def has_ended(self) -> bool:
        """Whether neither the cluster nor this machine has a job left."""
        return not self.cluster.read_state()["activeapps"] and not processes()


def processes() -> list[int]:
    """The ids of the drivers of jobs that this checkout has started."""
    command = ["pgrep", "-f", str(JOB)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def materialize_all(instance: Instance) -> Pipeline:
    pipeline = Pipeline(instance, Console(quiet=True))
    pipeline.wait_for_locations()
    pipeline.run_all(MONTHS)
    pipeline.run_report("manhattan", "Manhattan", MONTHS)
    return pipeline


def settings(root: Path, files: Path) -> dict[str, str]:
    return {
        "TAXI_DATA_ROOT": str(root),
        "TLC_SOURCE_URL": str(files),
        "TAXI_ZONES_URL": str(files / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": "2019-01-01",
    }


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    for home in VERSIONS.values():
        try:
            check_installed(home)
        except SparkError as error:
            pytest.fail(str(error))


@pytest.fixture(scope="module")
def on_spark(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSpark]:
    base = tmp_path_factory.mktemp("spark")
    with ExitStack() as stack:
        cluster = stack.enter_context(spark.cluster(VERSIONS["4"]))
        environment = {**settings(base / "data", real_files), **cluster.environment}
        home = Instance(base / "home", daemon=False, environment=environment)
        yield OnSpark(cluster, stack.enter_context(home), base / "data")


@pytest.fixture(scope="module")
def computed(on_spark: OnSpark) -> Pipeline:
    """Every asset, by Spark where it asks."""
    return materialize_all(on_spark.instance)


def test_spark_answers_what_duckdb_answers(
    on_spark: OnSpark, computed: Pipeline, real_files: Path, tmp_path: Path
) -> None:
    engines = {
        event.asset: event.metadata["engine"]
        for event in computed.materialized
        if "engine" in event.metadata
    }
    by_spark = on_spark.results()
    environment = settings(on_spark.root, real_files)
    with Instance(tmp_path / "home", daemon=False, environment=environment) as instance:
        materialize_all(instance)
    assert on_spark.results() == by_spark
    assert set(engines) == {"trips_by_week", "manhattan_stats", "adhoc_request"}
    assert all(name.startswith("Spark 4") for name in engines.values())


def test_sparks_weeks_equal_the_days_that_duckdb_counted(
    on_spark: OnSpark, computed: Pipeline
) -> None:
    checks = on_spark.instance.graphql.ask(
        """{ assetNodes { assetKey { path } dependencyKeys { path } assetChecksOrError {
             ... on AssetChecks { checks { name executionForLatestMaterialization {
             status } } } } } }"""
    )["assetNodes"]
    (weeks,) = (node for node in checks if node["assetKey"]["path"] == ["trips_by_week"])
    assert weeks["dependencyKeys"] == [{"path": ["taxi_trips"]}]
    assert {
        check["name"]: check["executionForLatestMaterialization"]["status"]
        for check in weeks["assetChecksOrError"]["checks"]
    } == {"weeks_equal_their_days": "SUCCEEDED", "amounts_are_known": "SUCCEEDED"}


def test_month_replaced_meanwhile_changes_no_answer(on_spark: OnSpark, computed: Pipeline) -> None:
    before = on_spark.results()
    lake = Lake(DataRoot.at(str(on_spark.root)))
    version = lake.history(TRIPS)[0].version
    file = lake.snapshot().files(TRIPS)["2019-02-01"].address
    run_id = on_spark.start_stats()
    with duckdb.connect() as con:
        fewer = Rows("SELECT * FROM read_parquet($file) LIMIT 7", {"file": file})
        Month("2019-02-01", fewer).write(con, lake)
    assert wait_for_status(on_spark.instance.graphql, run_id) == "SUCCESS"
    assert on_spark.results() == before
    lake.roll_back(TRIPS, "2019-02-01", version, {})
    messages, _ = on_spark.instance.graphql.run_messages(run_id, None)
    assert any("has the job app-" in message for message in messages)


def test_cancelled_run_ends_its_job_and_records_nothing(
    on_spark: OnSpark, computed: Pipeline
) -> None:
    """While the job runs, the run's page shows what its driver prints."""
    graphql = on_spark.instance.graphql
    run_id = on_spark.start_stats()
    assert "SparkContext: Running Spark version 4" in read_stderr(graphql, run_id)
    assert graphql.run_status(run_id) == "STARTED"
    graphql.ask("mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id)
    assert wait_for_status(graphql, run_id) == "CANCELED"
    wait_for(on_spark.has_ended, "the end of the job")
    assert list(graphql.materializations(run_id)) == []


def test_killed_driver_fails_the_run(on_spark: OnSpark, computed: Pipeline) -> None:
    graphql = on_spark.instance.graphql
    run_id = on_spark.start_stats()
    for process in processes():
        os.kill(process, signal.SIGKILL)
    assert wait_for_status(graphql, run_id) == "FAILURE"
    assert "External execution process failed with code" in graphql.run_failure(run_id)
    wait_for(on_spark.has_ended, "the end of the job")
    assert list(graphql.materializations(run_id)) == []


def test_killed_worker_is_replaced_by_the_other(on_spark: OnSpark, computed: Pipeline) -> None:
    before = on_spark.results()
    run_id = on_spark.start_stats()
    os.killpg(on_spark.cluster.workers[0], signal.SIGKILL)  # with its executor
    assert wait_for_status(on_spark.instance.graphql, run_id) == "SUCCESS"
    assert on_spark.results() == before


def ask_in_a_run(engine: Engine, *asked: Question[Any]) -> list[list[Any]]:
    """What an engine answers in a run."""
    answers: list[list[Any]] = []

    @dg.op
    def ask(context: dg.OpExecutionContext, engine: dg.ResourceParam[Engine]) -> None:
        answers.extend(engine.ask(context, each).rows for each in asked)  # type: ignore[arg-type]

    @dg.job(resource_defs={"engine": engine.get_resource_definition()})
    def job() -> None:
        ask()

    job.execute_in_process()
    return answers


def test_oldest_spark_answers_what_duckdb_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = VERSIONS["3.5"]
    for name, value in spark.spark_home(home).items():
        monkeypatch.setenv(name, value)
    database = LakeDatabase(data_root=str(tmp_path))
    write_lake(database.lake)
    oldest = SparkSubmit(
        database=database, command=str(home / "bin" / "spark-submit"), master="local[2]"
    )
    asked = [question(database.lake, metric) for metric in SQL]
    assert ask_in_a_run(oldest, *asked) == ask_in_a_run(DuckDB(database=database), *asked)


def test_job_that_ends_without_an_answer_fails(tmp_path: Path) -> None:
    command = tmp_path / "spark-submit"
    command.write_text("#!/bin/sh\necho done\n")
    command.chmod(0o755)
    database = LakeDatabase(data_root=str(tmp_path))
    silent = SparkSubmit(database=database, command=str(command))
    with pytest.raises(NoAnswer, match="trips_by_week: the job of Spark ended without an answer"):
        ask_in_a_run(silent, question(database.lake, "trips_by_week"))


def test_answers_are_shown_without_shapes() -> None:
    csv = "\n".join(["week,trips", *(f"{number},10" for number in range(5)), ""])
    assert spark.shorten(csv.encode()) == "week,trips\n0,10\n1,10\n2,10\n… 2 more"
    zone = {"type": "Feature", "properties": {"zone": "Inwood"}, "geometry": {"type": "Point"}}
    stats = {"type": "FeatureCollection", "features": [zone]}
    assert spark.shorten(json.dumps(stats).encode()) == '{"zone": "Inwood"}'


def test_missing_java_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SparkError, match="has no Spark: run `make spark-environment`"):
        check_installed(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SparkError, match=r"There is no Java here\. .* install Debian's openjdk-17"):
        check_installed(tmp_path)
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    with pytest.raises(SparkError, match=r'"11\.0\.2" is too old\. Spark needs Java 17'):
        check_installed(tmp_path)
