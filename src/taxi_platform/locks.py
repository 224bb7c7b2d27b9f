"""Files to lock, which no other user of the machine can prepare, follow or read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def open_lock(path: Path) -> Iterator[IO[str]]:
    """A file to lock and to write, made for its owner alone; closing it ends the lock.

    Raises OSError where a symbolic link is in its place: the file that it leads to would be made or
    emptied.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+") as file:
        yield file


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone.

    One that is there keeps its mode.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
