"""Lock files and folders that other users of the machine can neither read nor replace."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def open_lock(path: Path) -> Iterator[IO[str]]:
    """Open a file to lock and write, with access for its owner only; closing it ends the lock.

    Raises OSError for a symbolic link, because its target would be created or emptied.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "r+") as file:
        yield file


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents with access for their owner only.

    Existing folders keep their mode.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
