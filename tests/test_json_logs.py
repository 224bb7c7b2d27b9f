"""Events of runs and alerts as lines of JSON: what a log agent reads from started instances."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from taxi_platform.instance import Instance
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT, Location, locations
from taxi_shared.json_logs import MAX_LINE_BYTES, dagster_config
from taxi_shared.log_links import LogLinks
from taxi_shared.ranges import range_tags
from tests.waiting import wait_for, wait_for_status

REFERENCE = ROOT / "docs" / "reference"
MONTH = "2023-01-01"

NORTH = """
import os
import signal
import dagster as dg

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a"]), check_specs=[
    dg.AssetCheckSpec("holds", asset="counted"), dg.AssetCheckSpec("should_hold", asset="counted")])
def counted(context):
    context.log.warning("two\\nlines of “text”")
    print("printed by the step")
    yield dg.MaterializeResult(metadata={
        "dagster/row_count": 12, "seconds": 0.5, "share": float("nan"), "none": None,
        "columns": dg.MetadataValue.json({"a": 1}), **{f"text {n}": "🚕" * 5000 for n in range(9)}})
    yield dg.AssetCheckResult(asset_key="counted", check_name="holds", passed=True)
    yield dg.AssetCheckResult(asset_key="counted", check_name="should_hold", passed=False,
                              severity=dg.AssetCheckSeverity.WARN, description="7 of 9")

@dg.asset
def unlucky() -> None:
    raise ValueError("the moon is in the wrong house")

@dg.asset
def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

defs = dg.Definitions(
    assets=[counted, unlucky, killed],
    jobs=[
        dg.define_asset_job("counted_job", [counted]),
        dg.define_asset_job("unlucky_job", [unlucky], executor_def=dg.multiprocess_executor),
        dg.define_asset_job("killed_job", [killed]),
    ],
    executor=dg.in_process_executor,
)
"""

# The schema that AWS publishes in "Specification: Embedded metric format", in fewer words.
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_UNIT = {"enum": ["Seconds", "Milliseconds", "Bytes", "Percent", "Count", "None"]}
EMF = Draft202012Validator(
    {
        "type": "object",
        "required": ["_aws"],
        "properties": {
            "_aws": {
                "type": "object",
                "required": ["Timestamp", "CloudWatchMetrics"],
                "additionalProperties": False,
                "properties": {
                    "Timestamp": {"type": "integer", "minimum": 1_600_000_000_000},
                    "CloudWatchMetrics": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["Namespace", "Dimensions", "Metrics"],
                            "additionalProperties": False,
                            "properties": {
                                "Namespace": _NAME,
                                "Dimensions": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {"type": "array", "maxItems": 9, "items": _NAME},
                                },
                                "Metrics": {
                                    "type": "array",
                                    "maxItems": 100,
                                    "items": {
                                        "type": "object",
                                        "required": ["Name"],
                                        "additionalProperties": False,
                                        "properties": {"Name": _NAME, "Unit": _UNIT},
                                    },
                                },
                            },
                        },
                    },
                },
            }
        },
    }
)
# The values of Google's LogSeverity that Python's levels have.
SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


def read_lines(log: Path) -> list[dict[str, Any]]:
    """The lines of JSON that a process has written, among what else it and its runs print."""
    lines = log.read_text().split("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in lines if line.startswith("{")]


def published_metrics(line: dict[str, Any]) -> dict[str, tuple[float, dict[str, str]]]:
    """What CloudWatch makes of a line: value and dimensions by name, by the rules for targets."""
    EMF.validate(line)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    (names,) = directive["Dimensions"]
    dimensions = {name: line[name] for name in names}
    assert all(isinstance(value, str) and value for value in dimensions.values())
    values = {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}
    assert all(isinstance(value, int | float) for value in values.values())
    return {name: (value, dimensions) for name, value in values.items()}


@dataclass
class Logged:
    """The lines of an instance: those of runs by location, and of alerts; and its runs by job."""

    north: list[dict[str, Any]]
    ingestion: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    runs: dict[str, str]
    printed: str

    def find(self, event: str, **fields: str) -> dict[str, Any]:
        """The only line of an event with some fields."""
        fields = {"event": event, **fields}
        (found,) = [line for line in self.north if fields.items() <= line.items()]
        return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """An instance whose runs have succeeded, failed and been killed, and its alerts."""
    base = tmp_path_factory.mktemp("json-logs")
    (base / "north.py").write_text(NORTH)
    write_sample(base / "source", [date.fromisoformat(MONTH)], 1_000)
    environment = {
        "TAXI_LOG_FORMAT": "emf",
        "TAXI_ALERTS": "log",
        "TAXI_UI_URL": "https://dagster.example.org",
        "TAXI_DATA_ROOT": str(base / "data"),
        "TLC_SOURCE_URL": str(base / "source"),
        "TAXI_ZONES_URL": str(base / "source" / "misc" / "taxi_zones.csv"),
    }
    served = [Location("north", "north", base, Path(sys.executable)), locations()[0]]
    with Instance(base / "home", environment=environment, served=served) as instance:
        graphql = instance.graphql
        runs = {
            "trip_update_job": graphql.launch(
                "ingestion", "trip_update_job", tags=range_tags(MONTH, MONTH)
            ),
            "counted_job": graphql.launch("north", "counted_job", tags={"dagster/partition": "a"}),
            "unlucky_job": graphql.launch("north", "unlucky_job"),
            "killed_job": graphql.launch("north", "killed_job"),
        }
        for run_id in runs.values():
            wait_for_status(graphql, run_id)
        alerts = instance.log("alerts")
        wait_for(lambda: runs["killed_job"] in alerts.read_text(), "the alert of a killed run")
        yield Logged(
            read_lines(instance.log("north")),
            read_lines(instance.log("ingestion")),
            read_lines(alerts),
            runs,
            instance.log("north").read_text(),
        )


@pytest.mark.system
def test_every_event_of_a_run_is_one_line(logged: Logged) -> None:
    run_id = logged.runs["counted_job"]
    events = [line["event"] for line in logged.north if line["run_id"] == run_id if "event" in line]
    assert events[0] == "RUN_START"
    assert events[-1] == "RUN_SUCCESS"
    assert events.count("ASSET_MATERIALIZATION") == 1
    assert events.count("ASSET_CHECK_EVALUATION") == 2
    (said,) = [line for line in logged.north if line["kind"] == "log"]
    assert (
        said.items()
        >= {
            "severity": "WARNING",
            "message": "two\nlines of “text”",
            "run_id": run_id,
            "location": "north",
            "job": "counted_job",
            "step": "counted",
            "partition": "a",
        }.items()
    )
    assert "printed by the step" in logged.printed


@pytest.mark.system
def test_lines_have_the_fields_google_cloud_reads(logged: Logged) -> None:
    for line in [*logged.north, *logged.ingestion, *logged.alerts]:
        assert line["severity"] in SEVERITIES
        assert isinstance(line["message"], str)
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


@pytest.mark.system
def test_materialization_has_rows_seconds_and_metadata(logged: Logged) -> None:
    line = logged.find("ASSET_MATERIALIZATION", asset="counted")
    assert (line["rows"], line["seconds"], line["partition"]) == (12, 0.5, "a")
    assert line["severity"] == "INFO"
    dimensions = {"location": "north", "asset": "counted"}
    assert published_metrics(line) == {"rows": (12, dimensions), "seconds": (0.5, dimensions)}
    assert line["shortened"]  # its texts are longer than a line may be
    assert "metadata" not in line
    loaded = [line for line in logged.ingestion if line.get("asset") == "taxi_trips"]
    (trips,) = [line for line in loaded if line["event"] == "ASSET_MATERIALIZATION"]
    assert trips["partition"] == MONTH
    assert published_metrics(trips)["rows"] == (
        trips["metadata"]["dagster/row_count"],
        {"location": "ingestion", "asset": "taxi_trips"},
    )
    assert 0 < trips["rows"] <= 1_000


@pytest.mark.system
def test_lines_are_no_longer_than_docker_allows(logged: Logged) -> None:
    for line in [*logged.north, *logged.ingestion, *logged.alerts]:
        assert len(json.dumps(line, separators=(",", ":"))) < MAX_LINE_BYTES


@pytest.mark.system
def test_checks_and_steps_count_their_failures(logged: Logged) -> None:
    holds = logged.find("ASSET_CHECK_EVALUATION", check="holds")
    broken = logged.find("ASSET_CHECK_EVALUATION", check="should_hold")
    dimensions = {"location": "north", "asset": "counted", "check": "should_hold"}
    assert published_metrics(broken) == {"failures": (1, dimensions)}
    assert published_metrics(holds)["failures"][0] == 0
    assert (broken["severity"], broken["error"], broken["passed"]) == ("WARNING", "7 of 9", False)
    step = logged.find("STEP_FAILURE", step="unlucky")
    assert published_metrics(step) == {"failures": (1, {"location": "north", "step": "unlucky"})}
    assert (step["severity"], step["error"]) == (
        "ERROR",
        "ValueError: the moon is in the wrong house",
    )
    run = logged.find("RUN_FAILURE", job="unlucky_job")
    assert published_metrics(run) == {"failures": (1, {"location": "north", "job": "unlucky_job"})}
    passed = logged.find("STEP_SUCCESS", step="counted")
    assert published_metrics(passed)["failures"][0] == 0
    assert published_metrics(passed)["seconds"][0] > 0


@pytest.mark.system
def test_alert_of_a_killed_run_is_a_line(logged: Logged) -> None:
    run_id = logged.runs["killed_job"]
    assert not [
        line
        for line in logged.north
        if line["run_id"] == run_id and line.get("event") == "RUN_FAILURE"
    ]
    (line,) = [line for line in logged.alerts if line.get("link", "").endswith(run_id)]
    assert line["link"] == f"https://dagster.example.org/runs/{run_id}"
    assert (
        line.items()
        >= {
            "kind": "alert",
            "severity": "ERROR",
            "message": "killed_job failed",
            "location": "north",
        }.items()
    )
    assert published_metrics(line) == {"failures": (1, {"location": "north", "problem": "run"})}


def test_documented_section_is_that_of_the_setting() -> None:
    documented = yaml.safe_load((REFERENCE / "json-logs.yaml").read_text())
    assert documented == dagster_config("json")
    assert dagster_config("text") == {}


def test_run_goes_on_where_nothing_reads_its_lines(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(dagster_config("json")))
    script = """
import dagster as dg

@dg.asset
def quiet(): pass

with dg.DagsterInstance.get() as instance:
    assert dg.materialize([quiet], instance=instance).success
"""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert "BrokenPipeError" in ended.stderr


def test_step_links_to_its_lines_in_the_log_service(tmp_path: Path) -> None:
    shutil.copyfile(REFERENCE / "log-links.yaml", tmp_path / "dagster.yaml")
    script = """
import dagster as dg

@dg.asset
def talkative(): print("to standard output")

with dg.DagsterInstance.get() as instance:
    run_id = dg.materialize([talkative], instance=instance).run_id
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    print(run_id, events[0].dagster_event.event_specific_data.external_url)
"""
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    said, found = printed.stdout.splitlines()
    assert said == "to standard output"
    run_id, url = found.split()
    template = yaml.safe_load((REFERENCE / "log-links.yaml").read_text())
    assert url == template["compute_logs"]["config"]["url"].replace("{run_id}", run_id)
    assert run_id in url


@pytest.mark.parametrize("url", ["javascript:alert({run_id})", "https://logs.example.org"])
def test_link_without_address_or_run_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected the https:// address .* with {run_id}"):
        LogLinks.from_config_value(None, {"url": url})
