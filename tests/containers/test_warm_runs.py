"""Reports in containers: their runs start warm, and a deploy of their location lets them end."""

import json
import threading

from taxi_platform.workspace import locations
from tests.containers.conftest import Stack
from tests.waiting import wait_for

SERVICE = "adhoc_reports-runs"
PARENT = ".warm_runs/parent"
REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}
# Starts a run as a launcher does, and lets it go after a deploy has begun to stop its parent.
HELD_RUN = """
import time
from pathlib import Path
from taxi_shared.warm_runs.protocol import GO, request
newest = Path("/run/warm/adhoc_reports/runs.sock")
start = {"do": "start", "run_id": "held", "command": ["--version"]}
with request(newest, 60, **start) as (answer, connection):
    print("holds", flush=True)
    while newest.is_symlink():
        time.sleep(0.1)
    time.sleep(5)
    with request(Path(answer["parent"]), 60, do="check", run_id="held") as (later, _):
        print("goes on" if later["is_running"] else "is gone", flush=True)
    connection.sendall(GO)
"""


def report(stack: Stack, name: str) -> str:
    """Request a report, and wait for its outcome; returns its run."""
    write = f"open('/data/requests/{name}.json', 'w').write({json.dumps(REQUEST)!r})"
    stack.python("ingestion", write)
    read = f"import json; print(json.load(open('/data/outputs/{name}.json'))['status'])"

    def ended() -> bool:
        path = f"/data/outputs/{name}.json"
        return stack.has_file(path) and "generating" not in stack.python("ingestion", read)

    wait_for(ended, f"the report {name}")
    for run_id in stack.graphql.runs_of("adhoc_reports", "adhoc_request_job"):
        if stack.graphql.run_tags(run_id)["dagster/partition"] == name:
            return run_id
    raise AssertionError(f"no run for {name}")


def is_held(stack: Stack) -> bool:
    ask = """
from pathlib import Path
from taxi_shared.warm_runs.protocol import request
newest = Path("/run/warm/adhoc_reports/runs.sock")
with request(newest, 60, do="check", run_id="held") as (answer, _):
    print(answer["is_running"])
"""
    return stack.python("daemon", ask) == "True\n"


def test_report_starts_warm_in_the_service(stack: Stack) -> None:
    tags = stack.graphql.run_tags(report(stack, "in_service"))
    assert tags[PARENT].startswith("/run/warm/adhoc_reports/runs-")
    assert "docker/container_id" not in tags


def test_other_services_cannot_reach_the_socket(stack: Stack) -> None:
    see = "import os; print(os.path.exists('/run/warm/adhoc_reports/runs.sock'))"
    reached = {
        name
        for name in (*(location.name for location in locations()), "portal", "daemon")
        if stack.python(name, see) == "True\n"
    }
    assert reached == {"daemon"}


def test_deploy_lets_warm_runs_end(stack: Stack) -> None:
    said: list[str] = []
    held = threading.Thread(target=lambda: said.append(stack.python("daemon", HELD_RUN)))
    before = stack.container(SERVICE)
    held.start()
    wait_for(lambda: is_held(stack), "the held run")
    recreate = ("up", "--detach", "--no-deps", "--no-build", "--wait", "--force-recreate", SERVICE)
    deploy = threading.Thread(target=stack.compose, args=recreate)
    deploy.start()
    held.join()
    deploy.join()
    assert said == ["holds\ngoes on\n"]
    assert stack.container(SERVICE) != before
    assert PARENT in stack.graphql.run_tags(report(stack, "after_deploy"))


def test_report_without_the_service_starts_cold(stack: Stack) -> None:
    stack.compose("stop", SERVICE)
    try:
        tags = stack.graphql.run_tags(report(stack, "without_service"))
        assert PARENT not in tags
        assert "docker/container_id" in tags
    finally:
        stack.compose("up", "--detach", "--no-deps", "--no-build", "--wait", SERVICE)
