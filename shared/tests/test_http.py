"""Requests send the credentials they are given to the right server, and no others."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from taxi_shared.http import Credentials, Session, UnsafeCredentials


@dataclass
class Server:
    """A server that records the `Authorization` of each request, and redirects some paths."""

    url: str
    redirects: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            recorded.seen.append((self.path, self.headers.get("Authorization")))
            location = recorded.redirects.get(self.path)
            self.send_response(302 if location else 200)
            if location:
                self.send_header("Location", location)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._write_forever()
            else:
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _write_forever(self) -> None:
            self.close_connection = True
            with suppress(OSError):  # until the client closes the connection
                while True:
                    self.wfile.write(b"1\r\n.\r\n")
                    time.sleep(0.01)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded = Server(f"http://127.0.0.1:{http.server_port}")
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield recorded
    http.shutdown()
    http.server_close()


@pytest.fixture
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials for every host, from the user's `.netrc`."""
    (tmp_path / "netrc").write_text("default login stray password stray\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_netrc_adds_nothing_to_a_request_or_redirect(server: Server, netrc: None) -> None:
    server.redirects["/a"] = f"{server.url}/b"
    with Session() as session:
        session.get(f"{server.url}/a", timeout=5)
    assert server.seen == [("/a", None), ("/b", None)]


def test_netrc_does_not_replace_the_token(server: Server, netrc: None) -> None:
    with Session(Credentials("Bearer t0ken", server.url)) as session:
        session.get(f"{server.url}/a", timeout=5)
    assert server.seen == [("/a", "Bearer t0ken")]


def test_redirect_keeps_the_token_below_its_address(server: Server) -> None:
    localhost = server.url.replace("127.0.0.1", "localhost")
    server.redirects |= {
        "/tlc/a": "/tlc/b",
        "/tlc/b": "/other",
        "/other": f"{localhost}/tlc/c",
    }
    with Session(Credentials("Bearer t0ken", f"{server.url}/tlc")) as session:
        session.get(f"{server.url}/tlc/a", timeout=5)
    token = "Bearer t0ken"
    assert server.seen == [("/tlc/a", token), ("/tlc/b", token), ("/other", None), ("/tlc/c", None)]


def test_body_of_a_redirect_is_not_read(server: Server) -> None:
    server.redirects["/a"] = "/b"
    with Session() as session:  # its body never ends
        assert session.get(f"{server.url}/a", timeout=5).url.endswith("/b")


def test_user_in_an_address_is_sent_as_basic_auth(server: Server) -> None:
    address = server.url.replace("://", "://me:p%40ss@")
    with Session(Credentials.in_address(address)) as session:
        session.get(f"{address}/a", timeout=5)
    assert server.seen == [("/a", "Basic bWU6cEBzcw==")]  # me:p@ss


def test_proxy_is_used_for_other_machines_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Session() as session:
        session.get("http://mirror.example.org/a", timeout=5)
        session.get(f"{server.url}/b", timeout=5)
    assert [path for path, _ in server.seen] == ["http://mirror.example.org/a", "/b"]


@pytest.mark.parametrize(
    ("header", "address", "reason"),
    [
        ("Bearer t0ken", "http://me:t0ken@mirror.example.org", "to http://mirror.example.org, as"),
        ("Bearer t0ken\n", "https://mirror.example.org", "contain a line break"),
    ],
)
def test_unsafe_credentials_are_refused_without_value(
    header: str, address: str, reason: str
) -> None:
    with pytest.raises(UnsafeCredentials, match=reason) as refused:
        Credentials(header, address)
    assert "t0ken" not in str(refused.value)
    assert "t0ken" not in repr(Credentials("Bearer t0ken", "https://mirror.example.org"))
