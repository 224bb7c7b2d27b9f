"""The platform in containers: from `docker compose up` to a chart, and what the containers are."""

import json
import re
import subprocess
from collections.abc import Callable

import pytest
import requests

from taxi_platform.workspace import locations
from tests.backfills import launch_backfill, wait_for_backfill
from tests.captured_logs import read_stderr
from tests.containers.conftest import MONTHS, SAMPLE, Stack, command
from tests.waiting import wait_for

NAMES = [location.name for location in locations()]
RANGE = {
    "dagster/asset_partition_range_start": "2023-01-01",
    "dagster/asset_partition_range_end": "2023-03-01",
}
REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}


def test_request_becomes_a_chart(stack: Stack, figure: Callable[[str], None]) -> None:
    figure(f"from `up` to three loaded locations: {stack.start_seconds:.1f} s")
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


def test_ui_shows_logs_of_a_run_whose_container_is_gone(stack: Stack) -> None:
    assert "STEP_SUCCESS" in printed_by_last_run(stack)


def printed_by_last_run(stack: Stack) -> str:
    """The stderr of the last run of trips, as the UI shows it."""
    (run, *_) = stack.graphql.runs_of("ingestion", "trip_update_job")
    wait_for(lambda: not stack.runs_going(), what="the removal of ended runs")
    return read_stderr(stack.graphql, run)


def sources(stack: Stack, service: str) -> set[str]:
    """What an image has at the place of our code, but for bytecode."""
    return set(stack.execute(service, "ls", "/app/src").split()) - {"__pycache__"}


def test_image_holds_the_code_of_one_location_only(stack: Stack) -> None:
    for name in NAMES:
        assert sources(stack, name) == {name, "taxi_shared"}
        others = [other for other in NAMES if other != name]
        tried = f"import importlib.util as u; print([n for n in {others} if u.find_spec(n)])"
        assert stack.python(name, tried) == "[]\n"
    assert sources(stack, "webserver") == {"taxi_platform", "taxi_shared"}
    assert (
        stack.python("adhoc_reports", "import importlib.util as u; print(u.find_spec('geopandas'))")
        == "None\n"
    )


def test_locations_in_images_set_up_the_garbage_collector(stack: Stack) -> None:
    for location in locations():
        code = f"import gc, {location.module}; print(gc.get_threshold()[0])"
        assert stack.python(location.name, code) == "50000\n"


def test_containers_are_not_root_and_read_only(stack: Stack) -> None:
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


def test_images_are_labeled_with_version_and_commit(
    stack: Stack, figure: Callable[[str], None]
) -> None:
    commit = command("git", "rev-parse", "HEAD", cwd=stack.root).strip()
    for name in ("host", *NAMES):
        # Not :current, which a deploy moves.
        (image,) = stack.inspect(f"{stack.project}-{name}:{commit[:12]}")
        labels = image["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == commit[:12]
        assert labels["org.opencontainers.image.revision"] == commit
        itself = f"DAGSTER_CURRENT_IMAGE={stack.project}-{name}:{commit[:12]}"
        assert itself in image["Config"]["Env"]
        base = stack.inspect("python:3.12-slim-bookworm")[0]["Size"]
        size, own = image["Size"] / 1e6, (image["Size"] - base) / 1e6
        figure(f"image of {name}: {size:.0f} MB, {own:.0f} of them on top of Python's")


def test_only_the_ui_and_portal_are_published_on_loopback(stack: Stack) -> None:
    published = {}
    for container in stack.compose("ps", "--quiet").split():
        (found,) = stack.inspect(container)
        for bindings in found["NetworkSettings"]["Ports"].values():
            for binding in bindings or []:
                published[binding["HostPort"]] = binding["HostIp"]
    assert published == dict.fromkeys([str(stack.port), str(stack.portal_port)], "127.0.0.1")


def test_portal_reads_all_data_and_writes_only_requests(stack: Stack) -> None:
    address = f"http://127.0.0.1:{stack.portal_port}"
    assert requests.get(f"{address}/healthz", timeout=30).status_code == 200
    (found,) = stack.inspect(stack.container("portal"))
    writable = {mount["Destination"]: mount["RW"] for mount in found["Mounts"]}
    assert writable == {"/data": False, "/data/requests": True, "/tmp": True}
    given = {entry.partition("=")[0] for entry in found["Config"]["Env"]}
    others = {"DAGSTER_POSTGRES_PASSWORD", "TLC_SOURCE_TOKEN", "TAXI_S3_SECRET", "TAXI_SECRETS"}
    assert not given & others
    tried = "import os; print([f for f in ('/data', '/data/outputs', '/data/requests') if "
    tried += "os.access(f, os.W_OK)])"
    assert stack.python("portal", tried) == "['/data/requests']\n"
    available = f"{address}/api/available"
    wait_for(
        lambda: '"2023-02-01"' in requests.get(available, timeout=30).text,
        what="February in the catalog",
    )
    asked = {**REQUEST, "borough": "Queens"}
    answer = requests.post(f"{address}/api/requests", json=asked, timeout=30)
    assert answer.ok, answer.text


def test_database_requires_its_password(stack: Stack) -> None:
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
        check=False,
        cwd=stack.root,
        env=stack.environment,
        capture_output=True,
        text=True,
    )
    assert tried.returncode != 0
    assert "password authentication failed" in tried.stderr


def test_removing_and_adding_a_location_leaves_others_alone(stack: Stack) -> None:
    files = [
        stack.root / name for name in ("docker-compose.yml", "deploy/workspace/workspace.yaml")
    ]
    compose, workspace = files
    before = [file.read_text() for file in files]
    reload = "mutation { reloadWorkspace { __typename ... on PythonError { message } } }"
    try:
        service = re.compile(r"^  analytics:\n(?:    .*\n|\n)+", re.M)
        without, found = service.subn("", compose.read_text())
        assert found == 1
        compose.write_text(without)
        lines = [line for line in workspace.read_text().splitlines() if "analytics" not in line]
        workspace.write_text("\n".join(lines) + "\n")
        stack.compose("up", "--detach", "--wait", "--remove-orphans")
        stack.graphql.ask(reload)
        assert set(stack.graphql.location_errors()) == {"ingestion", "adhoc_reports"}
        run = stack.graphql.launch("ingestion", "trip_update_job", tags=RANGE)
        assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)
    stack.compose("up", "--detach", "--wait")
    stack.graphql.ask(reload)
    stack.wait_for_locations()
    assert set(stack.graphql.location_errors()) == set(NAMES)


# Prints what is posted to it, a line each, and ends by itself.
RECEIVER = """
import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
signal.alarm(600)
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["content-length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
"""


def test_alert_for_location_that_does_not_start_and_others_load(
    stack: Stack,
) -> None:
    stack.settings |= {
        "TAXI_ALERTS": "webhook",
        "TAXI_ALERT_WEBHOOK": "http://127.0.0.1:9000/hook",  # plain http goes no further
        "TAXI_UI_URL": "https://taxi.example.org",
    }
    stack.compose("--profile", "alerts", "up", "--detach", "--no-deps", "alerts")
    receiver = subprocess.Popen(
        ["docker", "exec", stack.container("alerts"), "python", "-c", RECEIVER],
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.compose("stop", "analytics")
    try:
        stack.compose("restart", "webserver", "daemon")
        stack.compose("up", "--detach", "--wait", "--no-deps", "webserver")
        wait_for(stack.graphql.is_up, what="the webserver")
        errors = stack.graphql.location_errors()
        assert errors.pop("analytics")
        assert set(errors.values()) == {None}
        assert receiver.stdout
        alerts = (each for line in receiver.stdout for each in json.loads(line)["problems"])
        of_location = next(each for each in alerts if each["kind"] == "location")
        assert of_location["location"] == "analytics"
        assert of_location["link"].startswith("https://taxi.example.org/")
    finally:
        receiver.kill()
        stack.compose("--profile", "alerts", "rm", "--stop", "--force", "alerts")
        for name in ("TAXI_ALERTS", "TAXI_ALERT_WEBHOOK", "TAXI_UI_URL"):
            del stack.settings[name]
        stack.compose("up", "--detach", "--wait", "analytics")
    stack.wait_for_locations()


def test_backfill_completes_after_a_restart_of_all_services(stack: Stack) -> None:
    started = launch_backfill(stack.graphql, [month.isoformat() for month in MONTHS.months])
    (run,) = wait_for(lambda: stack.graphql.runs_of_backfill(started), what="the backfill's run")
    wait_for(lambda: stack.graphql.run_status(run) == "STARTED", what="the start of the run")
    # As a restart of the machine: a run is killed, and nothing tries it again until all is up. The
    # daemon is stopped first, which might find the run lost before; the run must not end meanwhile.
    container = stack.container_of(run)
    command("docker", "update", "--cpus=0.01", container)
    stack.compose("stop", "daemon")
    command("docker", "kill", container)
    stack.compose("stop")
    containers = stack.compose("ps", "--all", "--quiet").split()
    ended = {each["Name"]: each["State"]["ExitCode"] for each in stack.inspect(*containers)}
    assert not [name for name, status in ended.items() if status == 137], "all stopped at SIGTERM"
    stack.compose("up", "--detach", "--wait")
    stack.wait_for_locations()

    found = wait_for_backfill(stack.graphql, started, seconds=400)
    runs = {
        each: (stack.graphql.run_status(each), stack.graphql.run_failure(each))
        for each in stack.graphql.runs_of_backfill(started)
    }
    assert found["status"] == "COMPLETED_SUCCESS", (found["error"], runs)
    assert runs[run][0] == "FAILURE"
    assert "container that it ran under is gone" in runs[run][1]
    assert len(runs) == 2


def test_only_ingestion_gets_the_token_of_the_source(stack: Stack) -> None:
    services = stack.settings | {"TLC_SOURCE_TOKEN": "secret", "TAXI_SECRETS": "name"}
    given = Stack(stack.root, stack.project, stack.port, stack.portal_port, services)
    found = json.loads(given.compose("config", "--format", "json"))["services"]
    for secret in ("TLC_SOURCE_TOKEN", "TAXI_SECRETS"):
        holders = {name for name, each in found.items() if secret in each.get("environment", {})}
        assert holders == {"ingestion", "daemon"}, "the daemon hands them to runs"
    runs = {
        name: json.loads(found[name]["environment"]["DAGSTER_CONTAINER_CONTEXT"])["docker"]
        for name in NAMES
    }
    of_ingestion = set(runs["ingestion"].pop("env_vars"))
    for name in ("analytics", "adhoc_reports"):
        more = of_ingestion - set(runs[name].pop("env_vars"))
        assert {"TLC_SOURCE_TOKEN", "TAXI_SECRETS"} <= more
        assert all(setting.startswith(("TLC_", "TAXI_")) for setting in more)
        assert runs[name] == runs["ingestion"]


@pytest.mark.parametrize("own", [True, False])
def test_portal_never_has_the_keys_of_the_platform(stack: Stack, own: bool) -> None:
    platform = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    settings = stack.settings | dict.fromkeys(platform, "platform")
    if own:
        settings |= {"TAXI_PORTAL_KEY_ID": "portal", "TAXI_PORTAL_KEY": "portal"}
    given = Stack(stack.root, stack.project, stack.port, stack.portal_port, settings)
    found = json.loads(given.compose("config", "--format", "json"))["services"]["portal"]
    keys = {name: found["environment"].get(name, "") for name in platform}
    expected = "portal" if own else ""
    assert keys == dict(zip(platform, (expected, expected, ""), strict=True))


def test_settings_of_the_sample_reach_the_locations(stack: Stack) -> None:
    (found,) = stack.inspect(stack.container("ingestion"))
    assert {f"{name}={value}" for name, value in SAMPLE.items()} <= set(found["Config"]["Env"])
