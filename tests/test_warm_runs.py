"""Runs of a started instance begin warm, or cold where they cannot."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from taxi_platform.instance import Instance
from taxi_platform.workspace import locations
from taxi_shared.warm_runs.protocol import SOCKET
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="Runs start warm on Linux only"),
]

PARENT = ".warm_runs/parent"
REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def instance(base: Path) -> Iterator[Instance]:
    """The location of the reports alone, without data: a report says that there is none."""
    (base / "data" / "requests").mkdir(parents=True)
    served = [each for each in locations() if each.name == "adhoc_reports"]
    environment = {"TAXI_DATA_ROOT": str(base / "data")}
    with Instance(base / "home", environment=environment, served=served) as started:
        wait_for(socket(base).exists, "the warm parent")
        yield started


def socket(base: Path) -> Path:
    return base / "home" / "warm" / "adhoc_reports" / SOCKET


def report(base: Path, name: str) -> str:
    """Request a report, and wait for its outcome; returns the status."""
    (base / "data" / "requests" / f"{name}.json").write_text(json.dumps(REQUEST))
    outcome = base / "data" / "outputs" / f"{name}.json"

    def ended() -> str | None:
        status = json.loads(outcome.read_text())["status"] if outcome.exists() else "generating"
        return None if status == "generating" else str(status)

    return wait_for(ended, f"the report {name}")


def run_of(instance: Instance, name: str) -> str:
    """The newest run for a report."""
    for run_id in instance.graphql.runs_of("adhoc_reports", "adhoc_request_job"):
        if instance.graphql.run_tags(run_id)["dagster/partition"] == name:
            return run_id
    raise AssertionError(f"no run for {name}")


def messages_of(base: Path, run_id: str) -> list[str]:
    with dg.DagsterInstance.from_config(str(base / "home")) as instance:
        return [each.message for each in instance.all_logs(run_id)]


def test_report_starts_warm_without_queueing(instance: Instance, base: Path) -> None:
    assert report(base, "warm") == "done"
    run_id = run_of(instance, "warm")
    assert instance.graphql.run_tags(run_id)[PARENT].startswith(str(socket(base).parent))
    assert not any("starts cold" in each for each in messages_of(base, run_id))


def test_run_without_a_parent_starts_cold_and_says_so(instance: Instance, base: Path) -> None:
    hidden = socket(base).with_name("hidden")
    socket(base).rename(hidden)
    try:
        assert report(base, "cold") == "done"
    finally:
        hidden.rename(socket(base))
    run_id = run_of(instance, "cold")
    assert PARENT not in instance.graphql.run_tags(run_id)
    assert any("starts cold" in each for each in messages_of(base, run_id))
