"""Health checks of servers on this machine or in a container, also as a command.

`python -m taxi_shared.health CHECK ARGUMENTS` exits with 0 if the check succeeds, else with 1:

    grpc PORT                  a code server answers
    code PORT                  its process with the definitions answers
    http PORT PATH             a web server answers with 200
    definitions PORT           a code server has loaded its definitions
    servers WORKSPACE SECONDS  wait until all code servers of a workspace answer; never fails

It imports little, unlike `dagster api grpc-health-check`: containers run it every few seconds.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

TIMEOUT_SECONDS = 5
# As Dagster's own limit: the threads of a busy code server start runs and evaluate sensors.
CODE_SECONDS = 60
HTTP_OK = 200


def is_code_server_up(port: int | str, host: str = "127.0.0.1") -> bool:
    """Whether a code server answers and is ready."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    no_proxy = [("grpc.enable_http_proxy", 0)]
    request = HealthCheckRequest(service="DagsterApi")
    with grpc.insecure_channel(f"{host}:{port}", options=no_proxy) as channel:
        try:
            answer = HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == HealthCheckResponse.SERVING)


def has_code(port: int | str) -> bool:
    """Whether the process of a code server on 127.0.0.1 that has the definitions answers.

    `is_code_server_up` is true for one whose process with the definitions has died. An error in the
    definitions is an answer.
    """
    import grpc

    no_proxy = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=no_proxy) as channel:
        try:
            # An empty message is Dagster's PingRequest without an echo.
            channel.unary_unary("/api.DagsterApi/Ping")(b"", timeout=CODE_SECONDS)
        except grpc.RpcError:
            return False
    return True


def is_web_server_up(port: int | str, path: str) -> bool:
    """Whether a web server on 127.0.0.1 answers a GET of `path` with 200."""
    direct = build_opener(ProxyHandler({}))  # to a proxy, 127.0.0.1 is another machine
    try:
        with direct.open(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == HTTP_OK)
    except (URLError, OSError):
        return False


def has_definitions(port: int | str) -> bool:
    """Whether a code server has loaded its definitions. Raises their error if not."""
    # Dagster has no public call for this.
    from dagster._api.list_repositories import sync_list_repositories_grpc
    from dagster._grpc.client import DagsterGrpcClient

    sync_list_repositories_grpc(DagsterGrpcClient(port=int(port), host="127.0.0.1"))
    return True


def wait_for_code_servers(workspace: str, seconds: str) -> bool:
    """Wait until the code servers of a workspace file answer, or the time is over."""
    import yaml

    entries = yaml.safe_load(Path(workspace).read_text())["load_from"]
    deadline = time.monotonic() + float(seconds)
    for server in (entry["grpc_server"] for entry in entries):
        while not is_code_server_up(server["port"], server["host"]) and time.monotonic() < deadline:
            time.sleep(1)
    return True


CHECKS: dict[str, Callable[..., bool]] = {
    "grpc": is_code_server_up,
    "code": has_code,
    "http": is_web_server_up,
    "definitions": has_definitions,
    "servers": wait_for_code_servers,
}

if __name__ == "__main__":
    check, *arguments = sys.argv[1:]
    sys.exit(0 if CHECKS[check](*arguments) else 1)
