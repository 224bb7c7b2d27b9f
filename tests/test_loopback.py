"""Health checks of this machine do not go through the environment's proxy."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from taxi_platform.graphql import GraphQL
from taxi_shared.health import is_code_server_up, is_web_server_up


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The requests to the environment's proxy, which has no exception for this machine."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def receive() -> None:
            while True:
                try:
                    connection, _ = proxy.accept()
                except OSError:  # closed at the end of the test
                    return
                with connection:
                    received.append(connection.recv(200))

        threading.Thread(target=receive, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield received
        proxy.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def webserver() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": {"version": "1"}}')

        do_POST = do_GET  # noqa: N815 - http.server calls this name

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def code_server() -> Iterator[int]:
    server, health = grpc.server(ThreadPoolExecutor(2)), HealthServicer()
    health.set("DagsterApi", HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_health_checks_of_this_machine_use_no_proxy(
    proxied: list[bytes], webserver: int, code_server: int
) -> None:
    assert GraphQL(f"http://localhost:{webserver}").is_up()
    assert is_web_server_up(webserver, "/healthz")
    assert is_code_server_up(code_server)
    assert proxied == []
