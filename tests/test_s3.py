"""The whole platform on S3, beside the same on a folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline, PipelineError
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT
from taxi_shared import storage
from taxi_shared.database import LakeDatabase
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES
from taxi_testing.object_store import S3Server

from .conftest import SETTINGS
from .waiting import wait_for

pytestmark = pytest.mark.system

MONTHS = MonthRange.between("2023-01", "2023-02")
REQUEST = {"borough": "Queens", "start_date": "2023-01-10", "end_date": "2023-02-25"}
# Times and run IDs, which differ between two runs.
PNG = b"\x89PNG\r\n\x1a\n"
VARYING = re.compile(rb'"(checked|generated|loaded|run_id|updated)":\s*"[^"]*"')


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_sample(folder, MONTHS.months, 3_000)
    return folder


def settings(source: Path, root: str) -> dict[str, str]:
    return {
        "TAXI_DATA_ROOT": root,
        "TLC_SOURCE_URL": str(source),
        "TAXI_ZONES_URL": str(source / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTHS.first.isoformat(),
        "TAXI_END_DATE": MONTHS.end.isoformat(),
    }


def through_the_whole_platform(home: Path, environment: dict[str, str]) -> None:
    """Two months, what automation makes of them, and a request that the sensor finds."""
    root = DataRoot.at(environment["TAXI_DATA_ROOT"])
    with Instance(home, environment=environment) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()
        began = time.time()
        pipeline.ingest(MONTHS)
        pipeline.follow_automation(began, time.time())
        storage.write_text(root.requests / "queens.json", json.dumps(REQUEST))
        storage.write_text(root.requests / "bad.json", "{}")
        wait_for(lambda: status_of(root, "queens") == "done", what=f"a report in {root.outputs}")
        wait_for(lambda: status_of(root, "bad") == "rejected", what="a rejection")
        catalog = root.outputs / "catalog" / "available_data.json"
        wait_for(catalog.is_file, what="the list of what can be requested")


def status_of(root: DataRoot, name: str) -> str:
    """How far a request is, by its outcome; empty where there is none yet."""
    outcome = root.outputs / f"{name}.json"
    return json.loads(storage.read_text(outcome))["status"] if outcome.is_file() else ""


def rows(address: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in the order of its file."""
    with LakeDatabase(data_root=address).get_connection() as con:
        return {table.name: con.execute(f"FROM {table.name}").fetchall() for table in TABLES}


def results(address: str) -> dict[str, bytes]:
    """The results for people and for other assets, by their path below the root.

    Without what differs from one time to the next.
    """
    root = DataRoot.at(address)
    start = len(str(root.base)) + 1
    paths = [*storage.versions_below(root.outputs), root.staging / "manhattan_stats.geojson"]
    paths += storage.versions_below(root.staging / "trips_by_week")
    found = {str(path)[start:]: VARYING.sub(b"", storage.read_bytes(path)) for path in paths}
    chart = "outputs/queens.png"  # says when it was computed
    return {**found, chart: found[chart][: len(PNG)]}


def test_all_results_on_s3_equal_those_in_a_folder(
    source: Path, tmp_path: Path, s3_root: str, object_store: S3Server
) -> None:
    folder = str(tmp_path / "data")
    through_the_whole_platform(tmp_path / "folder", settings(source, folder))
    environment = {**settings(source, s3_root), **object_store.environment}
    through_the_whole_platform(tmp_path / "s3", environment)

    expected, found = results(folder), results(s3_root)
    assert expected.keys() == found.keys()
    assert {*expected} >= {
        *("outputs/manhattan_map.png", "outputs/trips_by_week.csv", "outputs/queens.png"),
        *("outputs/queens.csv", "outputs/bad.json", "staging/manhattan_stats.geojson"),
    }
    assert found == expected
    assert found["outputs/queens.png"] == PNG
    assert rows(s3_root) == rows(folder)
    place = storage.path_at(s3_root)
    assert not [name for name in place.fs.find(place.path) if "partial" in name]
    with duckdb.connect() as con:  # as people do
        DataRoot.at(s3_root).attach(con)
        con.execute(f"ATTACH '{s3_root}/staging/data.duckdb' AS lake (READ_ONLY)")
        assert con.execute("SELECT count(*) FROM lake.trips").fetchone() == (6_000,)


def run_pipeline(home: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command `pipeline` for the two months, in its own environment."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    command = [sys.executable, "-m", "taxi_platform", "pipeline", "--from", "2023-01"]
    return subprocess.run(
        [*command, "--to", "2023-02"],
        check=False,
        env={**others, **environment, "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the keys are refused: check AWS_ACCESS_KEY_ID"),
        ({"TAXI_DATA_ROOT": "s3://not-there/data"}, "there is no such bucket: create it, or"),
        ({"TAXI_DATA_ROOT": "s3://bucket/a?b"}, "TAXI_DATA_ROOT is 's3://bucket/a?b', which con"),
        ({"TAXI_DATA_ROOT": "/dev/null/data"}, "/dev/null is not a folder that this user can wr"),
    ],
)
def test_unusable_data_root_is_refused_before_the_start(
    source: Path,
    tmp_path: Path,
    s3_root: str,
    object_store: S3Server,
    wrong: dict[str, str],
    message: str,
) -> None:
    environment = {**settings(source, s3_root), **object_store.environment, **wrong}
    done = run_pipeline(tmp_path, environment)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "starting" not in done.stdout


def test_deleted_bucket_is_named_by_failed_runs_and_ticks(
    source: Path, tmp_path: Path, s3_root: str, object_store: S3Server
) -> None:
    bucket = object_store.new_bucket()
    environment = {**settings(source, f"{bucket}/data"), **object_store.environment}
    with Instance(tmp_path, environment=environment) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()

        def error_of_the_sensor() -> str:
            ticks = instance.graphql.ask(
                """{ sensorOrError(sensorSelector: {repositoryLocationName: "adhoc_reports",
                      repositoryName: "__repository__", sensorName: "adhoc_request_sensor"}) {
                      ... on Sensor { sensorState { ticks(limit: 5) {
                          status error { causes { message } } } } } } }"""
            )["sensorOrError"]["sensorState"]["ticks"]
            failed = [tick["error"] for tick in ticks if tick["status"] == "FAILURE"]
            return "\n".join(cause["message"] for error in failed for cause in error["causes"])

        def error_without_the_bucket() -> str:
            # SeaweedFS makes it again where a file was on its way when it was deleted.
            object_store.delete_bucket(bucket)
            return error_of_the_sensor()

        error = wait_for(error_without_the_bucket, what="a failed tick")
        assert re.search(rf"{bucket}/data/(requests|outputs)\S*: there is no such bucket", error)
        with pytest.raises(PipelineError, match=rf"{bucket}\S*: there is no such bucket"):
            pipeline.ingest(MONTHS)


def test_documented_configuration_stores_compute_logs_on_s3(
    tmp_path: Path, s3_root: str, object_store: S3Server
) -> None:
    shutil.copyfile(
        ROOT / "docs" / "reference" / "compute-logs-on-s3.yaml", tmp_path / "dagster.yaml"
    )
    name = object_store.new_bucket().removeprefix("s3://")
    script = """
import dagster as dg

@dg.asset
def talkative(): print("said on the way")

with dg.DagsterInstance.get() as instance:
    assert dg.materialize([talkative], instance=instance).success
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    environment |= {"DAGSTER_HOME": str(tmp_path), "TAXI_COMPUTE_LOGS_BUCKET": name}
    command = [sys.executable, "-c", script]
    subprocess.run(command, env={**environment, **object_store.environment}, check=True)
    client = object_store.client()
    kept = [each["Key"] for each in client.list_objects_v2(Bucket=name)["Contents"]]
    (printed,) = (key for key in kept if key.endswith(".out"))
    assert printed.startswith("compute-logs/")
    assert client.get_object(Bucket=name, Key=printed)["Body"].read() == b"said on the way\n"
