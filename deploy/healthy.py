"""Whether what this container serves is up, as its exit status: `healthy.py grpc|http PORT PATH`.

Imports little, unlike `dagster api grpc-health-check`: it runs every few seconds. And beside that
`healthy.py definitions PORT`, for a deploy: whether a code server has loaded its definitions;
`healthy.py servers WORKSPACE SECONDS`: waits so long at most until the workspace's servers answer.
"""

import sys
import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener


def code_server(port: str, host: str = "127.0.0.1") -> bool:
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    no_proxy = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{host}:{port}", options=no_proxy) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(service="DagsterApi"), timeout=5)
        except grpc.RpcError:
            return False
    return answer.status == HealthCheckResponse.SERVING


def servers(workspace: str, seconds: str) -> bool:
    import yaml

    entries = yaml.safe_load(Path(workspace).read_text())["load_from"]
    deadline = time.monotonic() + float(seconds)
    for server in (entry["grpc_server"] for entry in entries):
        while not code_server(server["port"], server["host"]) and time.monotonic() < deadline:
            time.sleep(1)
    return True


def definitions(port: str) -> bool:
    # Dagster has no public way to ask a code server this.
    from dagster._api.list_repositories import sync_list_repositories_grpc
    from dagster._grpc.client import DagsterGrpcClient

    sync_list_repositories_grpc(DagsterGrpcClient(port=int(port), host="127.0.0.1"))
    return True


def http(port: str, path: str) -> bool:
    direct = build_opener(ProxyHandler({}))  # to a proxy, 127.0.0.1 is another machine
    with direct.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.status == 200


CHECKS = {"grpc": code_server, "servers": servers, "definitions": definitions, "http": http}

if __name__ == "__main__":
    kind, *where = sys.argv[1:]
    sys.exit(0 if CHECKS[kind](*where) else 1)
