"""What the daemon and the webserver can ask of the Docker Engine: runs, and nothing else."""

import json
from typing import Any

import pytest

from tests.containers.conftest import Stack, command

CREATE = """
import json, sys, docker
image, context, changes = sys.argv[1], json.loads(sys.argv[2])["docker"], json.loads(sys.argv[3])
arguments = {"network": context["networks"][0], **context["container_kwargs"], **changes}
image = arguments.pop("image", image)
try:
    print(docker.from_env().containers.create(image, "true", detach=True, **arguments).id)
except docker.errors.APIError as error:
    print(error.status_code, error.explanation)
"""


def create(stack: Stack, changes: dict[str, Any]) -> str:
    """Create a run's container with other arguments from the daemon; its id, or the refusal."""
    image = stack.graphql.location_images()["ingestion"]
    assert image
    context = stack.execute("ingestion", "printenv", "DAGSTER_CONTAINER_CONTEXT")
    return stack.execute(
        "daemon", "python", "-c", CREATE, image, context, json.dumps(changes)
    ).strip()


def test_container_of_the_run_template_is_created(stack: Stack) -> None:
    created = create(stack, {})
    (found,) = stack.inspect(created)
    command("docker", "rm", created)
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert not found["HostConfig"]["Privileged"]


@pytest.mark.parametrize(
    "changes",
    [
        {"privileged": True},
        {"volumes": ["/:/host"]},
        {"volumes": ["/var/run/docker.sock:/run/docker.sock"]},
        {"volumes": ["{project}_postgres:/database"]},
        {"volumes_from": ["{project}-postgres-1"]},
        {"network": None, "network_mode": "host"},
        {"network": "{project}_engine"},
        {"pid_mode": "host"},
        {"ipc_mode": "host"},
        {"uts_mode": "host"},
        {"userns_mode": "host"},
        {"cgroupns": "host"},
        {"cap_add": ["SYS_ADMIN"]},
        {"cap_drop": []},
        {"devices": ["/dev/kmsg:/dev/kmsg"]},
        {"security_opt": ["seccomp=unconfined"]},
        {"user": "root"},
        {"name": "postgres"},
        {"image": "postgres:16"},
        {"ports": {"4000/tcp": 4000}},
        {"mem_limit": "100g"},
    ],
    ids="-".join,
)
def test_container_with_more_rights_is_refused(stack: Stack, changes: dict[str, Any]) -> None:
    changes = json.loads(json.dumps(changes).replace("{project}", stack.project))
    assert create(stack, changes).startswith("403 ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/containers/{id}/exec"),
        ("GET", "/images/json"),
        ("GET", "/containers/json"),
        ("DELETE", "/containers/{id}"),
        ("POST", "/containers/{id}/kill"),
        ("POST", "/networks/bridge/connect"),
        ("GET", "/containers/{id}/json/%2e%2e/%2e%2e/json"),
        ("POST", "/volumes/create"),
        ("GET", "/v1.45/../v1.45/info"),
    ],
)
def test_other_requests_to_the_engine_are_refused(stack: Stack, method: str, path: str) -> None:
    assert request_status(stack, method, path) == 403


@pytest.mark.parametrize(
    ("method", "action"), [("POST", "stop"), ("POST", "start"), ("GET", "json"), ("GET", "logs")]
)
def test_container_that_is_no_run_is_out_of_reach(stack: Stack, method: str, action: str) -> None:
    assert request_status(stack, method, f"/containers/{{id}}/{action}") == 404
    assert stack.inspect(stack.container("postgres"))[0]["State"]["Running"]


def request_status(stack: Stack, method: str, path: str) -> int:
    """The answer to a request of the daemon about the container of postgres."""
    asked = path.format(id=stack.container("postgres"))
    code = f"""
import http.client
connection = http.client.HTTPConnection("engine", 2375)
connection.request({method!r}, {asked!r})
print(connection.getresponse().status)
"""
    return int(stack.python("daemon", code))


def test_engine_proxy_does_not_serve_as_root(stack: Stack) -> None:
    read = "print(open('/proc/1/status').read())"
    lines = dict(
        line.split(":\t", 1) for line in stack.python("engine", read).splitlines() if ":\t" in line
    )
    assert lines["Name"] == "python"
    assert set(lines["Uid"].split()) == {"10001"}
    assert int(lines["CapEff"], 16) == 0
