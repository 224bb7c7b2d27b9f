"""The publisher: serves a folder on loopback like TLC's CDN, in its own process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.processes import start, stopping


class Files(BaseHTTPRequestHandler):
    """Answers GET and HEAD with Content-Length and ETag; sends bodies by sendfile."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        """Answer with the file."""
        self._send_file(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the headers of the file."""
        self._send_file(with_body=False)

    def _send_file(self, *, with_body: bool) -> None:
        path = (self.root / self.path.lstrip("/")).resolve()
        if not (path.is_relative_to(self.root) and path.is_file()):
            # TLC's CDN answers 403 for missing files.
            self._head(HTTPStatus.FORBIDDEN, 0)
            return
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            if self.headers.get("If-None-Match") == etag:
                self._head(HTTPStatus.NOT_MODIFIED, 0, etag)
                return
            self._head(HTTPStatus.OK, stat.st_size, etag)
            if with_body:
                self.wfile.flush()
                self.connection.sendfile(file)

    def _head(self, status: HTTPStatus, size: int, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: its time would count as time of the measured process."""


@contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """Serve a folder while the block runs; yields its URL."""
    command = [sys.executable, "-m", "bench.server", str(folder)]
    server = start(command, output="stdout")
    with stopping(server):
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip()
        if not address:
            raise RuntimeError(f"the server of {folder} did not start")
        yield address


def main() -> None:
    """Serve the folder in the first argument, and print the URL."""
    Files.root = Path(sys.argv[1]).resolve()
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
