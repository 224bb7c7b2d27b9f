"""A publisher that behaves, or misbehaves, like TLC's server; small real files of TLC's."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance

# TEST_TLC_FILES may name a folder of whole months in their place.
REAL_FILES = Path(__file__).resolve().parents[2] / "examples" / "tlc"


@dataclass
class Publisher:
    """A local HTTP server: files by path, and a list of what to answer first, by path.

    missing: the status for a file that is not there; TLC's server answers 403
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    misbehave: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = field(
        default_factory=dict
    )
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    missing: int = 403


def parquet(rows: int) -> bytes:
    """The content of a small Parquet file."""
    target = io.BytesIO()
    pq.write_table(pa.table({"number": range(rows)}), target)
    return target.getvalue()


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status and no content."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def body(
    content: bytes, announced: int | str | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with some content, announced perhaps with another length, then cut the connection."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.requests.append((self.command, self.path))
            served.authorizations.append(self.headers.get("Authorization"))
            if queue := served.misbehave.get(self.path):
                queue.pop(0)(self)
                return
            content = served.files.get(self.path)
            if content is None:
                status(served.missing)(self)
                return
            etag = served.etags.get(self.path)
            if etag and self.headers.get("If-None-Match") == etag:
                status(304, ETag=etag)(self)
                return
            self.send_response(200)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Publisher(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def real_files() -> Path:
    """A folder of real files in TLC's layout; see `examples/tlc/README.md`."""
    return Path(os.environ.get("TEST_TLC_FILES", REAL_FILES))


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
