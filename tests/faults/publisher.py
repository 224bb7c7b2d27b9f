"""A publisher of files over HTTP that misbehaves when a test asks for it."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from taxi_testing.web_service import WebService, serving

Answer = Callable[["Publisher"], None]
LONGEST_SECONDS = 300


class Publisher(WebService):
    """Answers GET and HEAD with the files of `folder`; `misbehave` has the next answers to GET.

    closing: set at the end, so that answers without an end do not last longer than the server
    """

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    misbehave: ClassVar[list[Answer]]
    closing: ClassVar[threading.Event]
    do_HEAD = WebService.do_GET  # noqa: N815 - the name that http.server calls

    def respond(self) -> None:
        """Answer a request."""
        path = self.folder / self.path.lstrip("/")
        if self.command == "GET" and "tripdata" in path.name and self.misbehave:
            self.misbehave.pop(0)(self)
        elif not path.is_file():
            self.answer(403, b"")  # as TLC's server does
        elif self.headers.get("If-None-Match") == etag(path):
            self.answer(304, b"", {"ETag": etag(path)})
        else:
            self.answer(200, path.read_bytes(), {"ETag": etag(path)})

    @property
    def content(self) -> bytes:
        """The file that is asked for."""
        return (self.folder / self.path.lstrip("/")).read_bytes()

    def begin(self, length: int, **headers: str) -> None:
        """Send the head of an answer, after which the connection is closed."""
        self.close_connection = True
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang(self) -> None:
        """Send nothing more until the client has gone."""
        self.close_connection = True
        self.connection.settimeout(1)
        while not self.closing.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(1):
                    return


def etag(path: Path) -> str:
    """An ETag of the content."""
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"'


@contextmanager
def publishing(folder: Path) -> Iterator[tuple[type[Publisher], str]]:
    """Publish a folder; yields the publisher and its address."""

    class Publishes(Publisher):
        misbehave: ClassVar[list[Answer]] = []
        closing: ClassVar[threading.Event] = threading.Event()

    Publishes.folder = folder
    with serving(Publishes) as address:
        try:
            yield Publishes, f"http://{address}"
        finally:
            Publishes.closing.set()


@contextmanager
def unanswered_address() -> Iterator[str]:
    """An address that does not answer attempts to connect."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # they fill the queue
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.parquet"
        finally:
            for each in waiting:
                each.close()


def status(code: int, **headers: str) -> Answer:
    """Answer with a status and no content."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda publisher: publisher.answer(code, b"", named)


def content(change: Callable[[bytes], bytes], **headers: str) -> Answer:
    """Answer with the file's content, changed; a header's `{}` stands for the ETag of the file."""

    def answer(publisher: Publisher) -> None:
        changed = change(publisher.content)
        own = etag(publisher.folder / publisher.path.lstrip("/"))
        publisher.begin(
            len(changed), **{name: value.format(own) for name, value in headers.items()}
        )
        publisher.wfile.write(changed)

    return answer


def cut(publisher: Publisher) -> None:
    """Send half of the file, then close the connection."""
    publisher.begin(len(publisher.content))
    publisher.wfile.write(publisher.content[: len(publisher.content) // 2])


def too_short(publisher: Publisher) -> None:
    """Announce less than the file, and send all of it."""
    publisher.begin(len(publisher.content) - 1000)
    with suppress(OSError):
        publisher.wfile.write(publisher.content)


def drip(publisher: Publisher) -> None:
    """Send 2 kB per second, for at most some minutes."""
    publisher.begin(10_000_000)
    with suppress(OSError):
        for _ in range(LONGEST_SECONDS * 2):
            publisher.wfile.write(bytes(1000))
            if publisher.closing.wait(0.5):
                return


def no_answer(publisher: Publisher) -> None:
    """Send nothing."""
    publisher.hang()


def slow_headers(publisher: Publisher) -> None:
    """Send headers without an end."""
    publisher.close_connection = True
    with suppress(OSError):
        publisher.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(LONGEST_SECONDS * 2):
            publisher.wfile.write(b".")
            if publisher.closing.wait(0.5):
                return


def half_a_body(publisher: Publisher) -> None:
    """Send half of the file, then nothing."""
    publisher.begin(len(publisher.content))
    publisher.wfile.write(publisher.content[: len(publisher.content) // 2])
    publisher.wfile.flush()
    publisher.hang()
