"""A web server on this machine that plays the API of a service."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

JSON = "application/json"


class WebService(BaseHTTPRequestHandler):
    """Answers requests; a subclass has `respond`."""

    def respond(self) -> None:
        """Answer a request, of the method `command` and the address `path`."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer GET."""
        self.respond()

    def do_POST(self) -> None:
        """Answer POST."""
        self.respond()

    def do_DELETE(self) -> None:
        """Answer DELETE."""
        self.respond()

    def body(self) -> bytes:
        """The content of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(
        self, status: int, content: bytes, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Answer a request with bytes."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # a cancelled run waits for no answer
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def answer_json(self, status: int, found: object, content_type: str = JSON) -> None:
        """Answer a request with JSON."""
        self.answer(status, json.dumps(found).encode(), {"Content-Type": content_type})

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: each poll is a request."""


@contextmanager
def serving(service: type[WebService]) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 within the block; yields host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
