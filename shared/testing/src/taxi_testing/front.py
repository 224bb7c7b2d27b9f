"""A server in front of an emulator: it passes requests on, and adds what the emulator lacks."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from typing import ClassVar

from taxi_testing.web_service import WebService

START_SECONDS = 60
# What the server sets itself, and headers of one connection.
_OWN = ("content-length", "transfer-encoding", "connection", "date", "server")
_NOT_PASSED_ON = ("host", "connection", "accept-encoding", "content-length")


@dataclass(frozen=True)
class Response:
    """A response of HTTP; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Front(WebService):
    """Pass requests on to `backend`, host and port; a subclass may `respond` to some itself."""

    protocol_version = "HTTP/1.1"
    backend: ClassVar[str]
    do_HEAD = do_PUT = do_PATCH = WebService.do_GET  # noqa: N815 - names of http.server

    def respond(self) -> None:
        """Respond to a request of any method."""
        self.pass_on()

    def pass_on(self) -> None:
        """Send the backend's response."""
        self.send(self.ask(self.command, self.path, self.body()))

    def ask(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Return the backend's response to a request with this one's headers."""
        headers = {n: v for n, v in self.headers.items() if n.lower() not in _NOT_PASSED_ON}
        connection = HTTPConnection(self.backend, timeout=60)
        try:
            # `urllib` would add a Content-Type, which Azure's signature covers.
            connection.request(method, path, body if method in ("PUT", "POST") else None, headers)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, headers, response.read())
        except OSError:  # it is starting
            return Response(503, {}, b"")
        finally:
            connection.close()

    def send(self, response: Response) -> None:
        """Send a response; the length of one to HEAD is that of the backend's."""
        headers = {name: each for name, each in response.headers.items() if name not in _OWN}
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers.get("content-length", "0")
        self.answer(response.status, response.body, headers)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def run(handler: type[Front]) -> None:
    """Run a front: the arguments of this process are its backend and its port."""
    handler.backend, port = sys.argv[1:]
    _Server(("127.0.0.1", int(port)), handler).serve_forever()


@contextmanager
def serve(module: str, backend: str) -> Iterator[str]:
    """Run the front of a module in a separate process; yield its address.

    `deltalake` holds Python's lock while it waits for some responses, so that a thread of this
    process could not send them. Raises RuntimeError where it does not start.
    """
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", module, backend, str(port)])
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens. Raises RuntimeError after START_SECONDS, or if it ends."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} does not answer ({error})") from error
            time.sleep(0.1)
        else:
            return


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
