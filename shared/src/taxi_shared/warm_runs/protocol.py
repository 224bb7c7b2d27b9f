"""The protocol between a launcher and a parent: one request per connection to a Unix socket.

A request is a line of JSON with `do`: `start` (with `run_id` and `command`, the arguments of
Dagster's command line), `stop` or `check` (with `run_id`). So is the answer: `parent`, the socket
of this parent alone, and `is_running`, whether it has a process for the run.

After the answer to `start`, the process waits for GO, and ends without it. So a launcher that gave
up, or died, has not started a run that someone else starts again.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

GO = b"go\n"
MAX_BYTES = 1 << 20
SOCKET = "runs.sock"
"""The socket of a location's newest parent, in a folder that no other location can write to."""


class NoAnswer(Exception):
    """A parent does not answer, in time or at all; `is_gone` where there is none."""

    def __init__(self, message: str, is_gone: bool = True) -> None:
        super().__init__(message)
        self.is_gone = is_gone


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Another path of a socket: the address of a Unix socket has 107 bytes at most."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def request(path: Path, seconds: float, **message: Any) -> Iterator[tuple[Any, socket.socket]]:
    """Send a message to a parent; gives its answer and the connection. Raises NoAnswer."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(seconds)
        try:
            with short_path(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = json.loads(read_line(connection))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            is_gone = not isinstance(error, TimeoutError)
            raise NoAnswer(f"{path}: {reason}", is_gone) from None
        yield answer, connection


def read_line(connection: socket.socket) -> bytes:
    """A line, or less where the other end has closed. Raises OSError and ValueError."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > MAX_BYTES:
            raise ValueError(f"a message of more than {MAX_BYTES:,} bytes")
        if not (more := connection.recv(1 << 16)):
            break
        line += more
    return line
