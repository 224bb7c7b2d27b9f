"""A data root on S3 that is away, slow or overloaded, or whose keys have ended."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from taxi_platform.instance import Instance
from taxi_testing.object_store import S3Server
from tests.faults.site import JANUARY, ROWS, Site, load
from tests.faults.sound import assert_equal_source

pytestmark = pytest.mark.slow

BYTES = 1 << 16
ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
ANSWERS = {
    "overloaded": ("503 Slow Down", ERROR.format("SlowDown", "Reduce your request rate.")),
    "keys ended": ("403 Forbidden", ERROR.format("ExpiredToken", "The token has expired.")),
}


@dataclass
class Proxy:
    """Passes connections on to an S3 server, unless a test wants otherwise.

    state: "" to pass them on; "slow" to do so with a delay; "away" to close them; or of ANSWERS
    """

    backend: tuple[str, int]
    state: str = ""
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @contextmanager
    def being(self, state: str) -> Iterator[None]:
        """Be in a state within the block."""
        self._change(state)
        try:
            yield
        finally:
            self._change("")

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Close all connections."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._change("away")

    def _change(self, state: str) -> None:
        self.state = state
        while self.connections:  # those that are kept open, too
            with suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        self.connections.append(client)
        with client, suppress(OSError):
            if self.state in ANSWERS:
                status, text = ANSWERS[self.state]
                client.recv(BYTES)
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
                )
                client.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
                client.shutdown(socket.SHUT_WR)
                while client.recv(BYTES):  # else its end may be lost with what was not read
                    continue
            elif self.state != "away":
                with socket.create_connection(self.backend) as server:
                    self.connections.append(server)
                    back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
                    back.start()
                    self._pass(client, server)
                    back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BYTES):
                if self.state == "slow":
                    time.sleep(0.2)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def proxy(object_store: S3Server) -> Iterator[Proxy]:
    host, _, port = object_store.endpoint.removeprefix("http://").partition(":")
    started = Proxy((host, int(port)))
    threading.Thread(target=started.serve, daemon=True).start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, object_store: S3Server, proxy: Proxy) -> Site:
    more = {
        **object_store.environment,
        "AWS_ENDPOINT_URL": proxy.url,
        "TAXI_DATA_ROOT": object_store.new_bucket(),
    }
    return Site.make(tmp_path_factory.mktemp("site"), ROWS, TAXI_FOLLOW_TLC="off", **more)


def copy_of_bucket(site: Site, server: S3Server) -> Site:
    """The site with what is in its bucket as its data root, by a client of the test's own."""
    client, bucket = server.client(), site.more["TAXI_DATA_ROOT"].removeprefix("s3://")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for each in page.get("Contents", ()):
            path = site.data / each["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read())
    return site


def row(fault: str, state: str, expected: str) -> object:
    """A row of the table: a state of the store, and the reason of the run's failure."""
    happens = (
        "the load takes longer"
        if not expected
        else "the run fails and names the bucket; readers keep what they had"
    )
    person = "run it again when it is back" if expected else "nothing"
    return pytest.param(
        (state, expected), id=fault, marks=pytest.mark.fault(fault, happens, person)
    )


@pytest.mark.parametrize(
    "case",
    [
        row("S3 is slow", "slow", ""),
        row("S3 is away", "away", "nothing answers"),
        row("S3 answers 503", "overloaded", "it takes no more requests"),
        row("the keys of S3 have ended", "keys ended", "the keys are refused"),
    ],
)
def test_store_that_fails_is_named_and_keeps_the_month(
    site: Site,
    instance: Instance,
    proxy: Proxy,
    object_store: S3Server,
    rows: Iterator[int],
    case: tuple[str, str],
) -> None:
    state, expected = case
    site.publish(next(rows), JANUARY)
    with proxy.being(state):
        run_id = load(instance, JANUARY, expected="FAILURE" if expected else "SUCCESS")
    if expected:
        reason = instance.graphql.run_failure(run_id)
        assert site.more["TAXI_DATA_ROOT"] in reason
        assert expected in reason
        load(instance, JANUARY)
    assert_equal_source(copy_of_bucket(site, object_store), instance, JANUARY)
