"""The platform in containers: from `docker compose up` to a chart, and what the containers are."""

import json
import subprocess
from typing import Any

import pytest
import requests

from taxi_platform.workspace import locations
from tests.containers.conftest import FIGURES, MONTHS, SAMPLE, Stack, command, wait_for

NAMES = [location.name for location in locations()]
RANGE = {
    "dagster/asset_partition_range_start": "2023-01-01",
    "dagster/asset_partition_range_end": "2023-03-01",
}
REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}


def test_from_up_to_the_chart_of_a_request(stack: Stack):
    run = stack.graphql.launch("ingestion", "trip_update_job", tags=RANGE)
    assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)
    request = f"""
import os
os.makedirs("/data/requests", exist_ok=True)
open("/data/requests/first.json", "w").write({json.dumps(REQUEST)!r})
"""
    stack.python("ingestion", request)
    wait_for(lambda: stack.has_file("/data/outputs/first.png"), what="the chart")
    head = stack.python("ingestion", "print(open('/data/outputs/first.png', 'rb').read(4))")
    assert head == "b'\\x89PNG'\n"


def test_what_a_run_printed_is_read_in_the_ui_after_its_container_is_gone(stack: Stack):
    assert "STEP_SUCCESS" in printed_by_last_run(stack)


def printed_by_last_run(stack: Stack) -> str:
    """The stderr of the last run of trips, as the UI shows it."""
    (run, *_) = stack.graphql.runs_of("trip_update_job")
    wait_for(lambda: not stack.runs_going(), what="the removal of ended runs")
    found = stack.graphql.ask(
        """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
             ... on LogsCapturedEvent { fileKey } } } } }""",
        id=run,
    )["logsForRun"]["events"]
    (key,) = [event["fileKey"] for event in found if event.get("fileKey")]
    logs = stack.graphql.ask(
        "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }",
        key=[run, "compute_logs", key],
    )["capturedLogs"]
    return str(logs["stderr"])


def test_an_image_holds_one_location_and_nothing_of_another(stack: Stack):
    for name in NAMES:
        held = set(stack.execute(name, "ls", "/app/src").split())
        assert held == {name, "taxi_shared"}
        others = [other for other in NAMES if other != name]
        tried = f"import importlib.util as u; print([n for n in {others} if u.find_spec(n)])"
        assert stack.python(name, tried) == "[]\n"
    assert stack.execute("webserver", "ls", "/app/src") == ""
    assert (
        stack.python("adhoc_reports", "import importlib.util as u; print(u.find_spec('geopandas'))")
        == "None\n"
    )


def test_a_container_is_not_root_and_cannot_write_its_files(stack: Stack):
    for service in (*NAMES, "webserver", "daemon"):
        assert stack.execute(service, "id", "-u") == "10001\n"
        folders = ("/app", "/usr", "/etc", "/home/dagster")
        tried = f"import os; print([p for p in {folders} if os.access(p, os.W_OK)])"
        assert stack.python(service, tried) == "[]\n"
        (found,) = stack.inspect(stack.container(service))
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert found["HostConfig"]["Init"]
        assert found["HostConfig"]["Memory"] > 0
        assert found["HostConfig"]["LogConfig"]["Config"]["max-size"] == "10m"
        assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_an_image_says_its_version_and_commit_and_its_size_is_told(stack: Stack):
    for name in ("host", *NAMES):
        (image,) = stack.inspect(f"{stack.project}-{name}:current")
        labels = image["Config"]["Labels"]
        version = labels["org.opencontainers.image.version"]
        assert version.startswith(f"{stack.project}-{name}:")
        assert f"DAGSTER_CURRENT_IMAGE={version}" in image["Config"]["Env"]
        base = stack.inspect("python:3.12-slim-bookworm")[0]["Size"]
        size, own = image["Size"] / 1e6, (image["Size"] - base) / 1e6
        FIGURES.append(f"image of {name}: {size:.0f} MB, {own:.0f} of them on top of Python's")


def test_nothing_is_published_but_the_ui_on_loopback(stack: Stack):
    published = {}
    for container in stack.compose("ps", "--quiet").split():
        (found,) = stack.inspect(container)
        for bindings in found["NetworkSettings"]["Ports"].values():
            for binding in bindings or []:
                published[binding["HostPort"]] = binding["HostIp"]
    assert published == dict.fromkeys([str(stack.port), str(stack.portal_port)], "127.0.0.1")


def test_the_portal_answers(stack: Stack):
    answer = requests.get(f"http://127.0.0.1:{stack.portal_port}/healthz", timeout=30)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/containers/{id}/exec"),
        ("GET", "/images/json"),
        ("GET", "/containers/json"),
        ("DELETE", "/containers/{id}"),
        ("POST", "/volumes/create"),
        ("GET", "/v1.45/../v1.45/info"),
    ],
)
def test_the_engine_is_asked_for_runs_and_nothing_else(stack: Stack, method: str, path: str):
    asked = path.format(id=stack.container("postgres"))
    code = f"""
import http.client
connection = http.client.HTTPConnection("engine", 2375)
connection.request({method!r}, {asked!r}, body="{{}}")
print(connection.getresponse().status)
"""
    assert stack.python("daemon", code) == "403\n"


def test_the_code_of_a_team_cannot_reach_the_engine(stack: Stack):
    code = "import socket; socket.create_connection(('engine', 2375), 5)"
    for name in NAMES:
        tried = subprocess.run(
            ["docker", "compose", "exec", "-T", name, "python", "-c", code],
            cwd=stack.root,
            env=stack.environment,
            capture_output=True,
            text=True,
        )
        assert tried.returncode != 0
        assert "Name or service not known" in tried.stderr or "resolution" in tried.stderr


def test_the_database_wants_its_password(stack: Stack):
    tried = subprocess.run(
        [
            "docker",
            "compose",
            "exec",
            "-T",
            "--env=DAGSTER_POSTGRES_PASSWORD=wrong",
            "daemon",
            "dagster",
            "instance",
            "info",
        ],
        cwd=stack.root,
        env=stack.environment,
        capture_output=True,
        text=True,
    )
    assert tried.returncode != 0
    assert "password authentication failed" in tried.stderr


def test_a_location_is_taken_away_and_added_while_the_others_go_on(stack: Stack):
    workspace = stack.root / "deploy" / "workspace" / "workspace.yaml"
    with_all = workspace.read_text()
    reload = "mutation { reloadWorkspace { __typename ... on PythonError { message } } }"
    try:
        lines = [line for line in with_all.splitlines() if "analytics" not in line]
        workspace.write_text("\n".join(lines) + "\n")
        stack.graphql.ask(reload)
        assert set(stack.graphql.location_errors()) == {"ingestion", "adhoc_reports"}
        stack.compose("stop", "analytics")
        run = stack.graphql.launch("ingestion", "trip_update_job", tags=RANGE)
        assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)
        stack.compose("up", "--detach", "--wait", "--no-deps", "analytics")
    finally:
        workspace.write_text(with_all)
    stack.graphql.ask(reload)
    stack.wait_for_locations()
    assert set(stack.graphql.location_errors()) == set(NAMES)


def test_a_restart_of_everything_in_the_middle_of_a_backfill_lets_it_complete(stack: Stack):
    started = stack.graphql.ask(
        """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(
              backfillParams: $params) { __typename
              ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        params={
            "assetSelection": [{"path": ["taxi_trips_file"]}, {"path": ["taxi_trips"]}],
            "partitionNames": [month.isoformat() for month in MONTHS.months],
        },
    )["launchPartitionBackfill"]["backfillId"]
    (run,) = wait_for(lambda: stack.graphql.runs_of_backfill(started), what="the backfill's run")
    wait_for(lambda: stack.graphql.run_status(run) == "STARTED", what="the start of the run")
    command("docker", "kill", *stack.runs_going())  # as a restart of the machine would
    stack.compose("restart")
    wait_for(stack.graphql.is_up, what="the webserver")
    stack.wait_for_locations()

    def backfill() -> dict[str, Any]:
        found = stack.graphql.ask(
            """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
                  ... on PartitionBackfill { status error { message causes { message } } } } }""",
            id=started,
        )["partitionBackfillOrError"]
        going = ("REQUESTED", "IN_PROGRESS", "FAILING")
        return found if found["status"] not in going else {}

    ended = wait_for(backfill, seconds=400, what="the end of the backfill")
    assert ended["status"] == "COMPLETED_SUCCESS", ended["error"]
    assert stack.graphql.run_status(run) == "FAILURE"
    assert len(stack.graphql.runs_of_backfill(started)) == 2


def test_settings_of_the_sample_reach_the_locations(stack: Stack):
    (found,) = stack.inspect(stack.container("ingestion"))
    assert {f"{name}={value}" for name, value in SAMPLE.items()} <= set(found["Config"]["Env"])
