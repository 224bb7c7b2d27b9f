"""The engine proxy in front of a real Docker Engine, with a run's container from the template."""

import copy
import http.client
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from taxi_platform.instance import free_port
from taxi_platform.workspace import ROOT
from tests.containers.conftest import command
from tests.test_engine_proxy import BODY, CONTEXT
from tests.waiting import wait_for

BASE_IMAGE = "python:3.12-slim-bookworm"  # of deploy/Dockerfile


@dataclass
class RealEngine:
    """The proxy's port, and the compose project whose runs it starts."""

    port: int
    project: str
    proxy: str = ""

    def log(self) -> str:
        logs = subprocess.run(
            ["docker", "logs", self.proxy], check=False, capture_output=True, text=True
        )
        return logs.stderr

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, f"/v1.44{path}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.getheader("Content-Type") == "application/json"
        return answer.status, json.loads(content) if is_json else content

    def body(self) -> dict[str, Any]:
        """The template for this project, with a command that shows the container's limits."""
        text = json.dumps(BODY).replace("taxi_", f"{self.project}_")
        template: dict[str, Any] = json.loads(text)
        return template | {
            "Image": f"{self.project}-ingestion:dev",
            "Labels": {"taxi.run": self.project, "dagster/run_id": "1"},
            "Cmd": [
                "sh",
                "-c",
                "cat /sys/fs/cgroup/memory.max; touch /x || touch /data/x; sleep 60",
            ],
        }


@pytest.fixture
def real_engine() -> Iterator[RealEngine]:
    engine = RealEngine(free_port(), f"taxi-tests-{uuid.uuid4().hex[:6]}")
    command("sh", "-c", f"docker image inspect {BASE_IMAGE} || docker pull {BASE_IMAGE}")
    command("docker", "tag", BASE_IMAGE, f"{engine.project}-ingestion:dev")
    command("docker", "network", "create", f"{engine.project}_platform")
    context = json.dumps(CONTEXT).replace("taxi_", f"{engine.project}_")
    context = context.replace('"taxi.run": "taxi"', f'"taxi.run": "{engine.project}"')
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    proxy = command(
        *("docker", "run", "--detach", "--read-only", "--user=0:0"),
        *("--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"),
        *("--security-opt=no-new-privileges:true", "--memory=128m"),
        *("--publish", f"127.0.0.1:{engine.port}:2375"),
        *("--volume", f"{socket}:/run/docker.sock", "--volume", f"{ROOT / 'src'}:/src:ro"),
        *("--env=PYTHONPATH=/src", f"--env=TAXI_IMAGES={engine.project}"),
        *("--env", f"TAXI_RUN_CONTAINER={context}"),
        *(BASE_IMAGE, "python", "-m", "taxi_platform.engine_proxy"),
    ).strip()
    engine.proxy = proxy
    try:
        wait_for(lambda: "listening" in engine.log(), "the start of the proxy")
        yield engine
    finally:
        command("docker", "rm", "--force", proxy)
        label = f"label=taxi.run={engine.project}"
        if left := command("docker", "ps", "--all", "--quiet", "--filter", label).split():
            command("docker", "rm", "--force", "--volumes", *left)
        command("docker", "network", "rm", f"{engine.project}_platform")
        for volume in ("data", "logs"):
            command("docker", "volume", "rm", "--force", f"{engine.project}_{volume}")
        command("docker", "rmi", f"{engine.project}-ingestion:dev")


def test_template_container_runs_on_a_real_engine(real_engine: RealEngine) -> None:
    status, created = real_engine.send("POST", "/containers/create", real_engine.body())
    assert status == 201, created
    container = f"/containers/{created['Id']}"
    assert real_engine.send("POST", f"{container}/start")[0] == 204
    shown = wait_for(
        lambda: (
            (logs := real_engine.send("GET", f"{container}/logs?stdout=1&stderr=1")[1]).count(b"\n")
            > 1
            and logs
        ),
        what="the container's output",
    )
    assert b"Read-only file system" in shown
    _, found = real_engine.send("GET", f"{container}/json")
    assert found["State"]["Status"] == "running"
    assert found["HostConfig"]["Memory"] == 2 * 1024**3
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["MaskedPaths"]
    assert list(found["NetworkSettings"]["Networks"]) == [f"{real_engine.project}_platform"]
    assert {mount["Destination"] for mount in found["Mounts"]} == {"/data", "/logs", "/tmp"}
    assert real_engine.send("POST", f"{container}/stop?t=1")[0] == 204
    wait_for(
        lambda: real_engine.send("GET", f"{container}/json")[0] == 404,
        what="the removal of the run",
    )


def test_privileged_container_is_not_created(real_engine: RealEngine) -> None:
    body = copy.deepcopy(real_engine.body())
    body["HostConfig"]["Privileged"] = True
    status, answer = real_engine.send("POST", "/containers/create", body)
    expected = "engine proxy: HostConfig.Privileged is not in the run template."
    assert (status, answer) == (403, {"message": expected})
    label = f"label=taxi.run={real_engine.project}"
    assert command("docker", "ps", "--all", "--quiet", "--filter", label) == ""


def test_container_of_no_run_is_not_stopped(real_engine: RealEngine) -> None:
    image = f"{real_engine.project}-ingestion:dev"
    other = command("docker", "run", "--detach", "--rm", image, "sleep", "60").strip()
    try:
        assert real_engine.send("POST", f"/containers/{other}/stop?t=1")[0] == 404
        assert json.loads(command("docker", "inspect", other))[0]["State"]["Running"]
    finally:
        command("docker", "rm", "--force", other)


def test_proxy_is_not_root_and_ends_at_sigterm(real_engine: RealEngine) -> None:
    assert "as user 10001" in real_engine.log()
    status = command("docker", "exec", real_engine.proxy, "sh", "-c", "cat /proc/[0-9]*/status")
    (of_proxy,) = (part for part in status.split("Name:") if part.startswith("\tpython"))
    assert "Uid:\t10001\t10001\t10001\t10001" in of_proxy
    assert "CapPrm:\t0000000000000000" in of_proxy
    command("docker", "stop", "--time=10", real_engine.proxy)
    assert json.loads(command("docker", "inspect", real_engine.proxy))[0]["State"]["ExitCode"] == 0
