"""Sends a signal to a process of the platform at a point that a test names.

Python imports this module at the start of each process whose PYTHONPATH has its folder. Points are
Python's own audit events, so the platform needs no code for these tests: `os.rename` before a file
is put in place, `open` of a file, `sqlite3.connect` before an event is stored.

The file that FAULT_POINT names has four lines: an event, a regular expression that is searched in
its arguments, how many matches to let pass, and the number of a signal. The process that comes to
the point renames the file to `<file>.hit`, writes its ID there, and gets the signal.
"""

import os
import re
import signal
import sys
import threading
from pathlib import Path

EVENTS = frozenset({"open", "os.link", "os.remove", "os.rename", "sqlite3.connect"})


class Point(threading.local):
    """The point that a file names, in each thread."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.hit = file.with_name(f"{file.name}.hit")
        self.passed = 0
        self.is_looking = False

    def look(self, event: str, arguments: tuple[object, ...]) -> None:
        """Look whether an event is the point; a hook for `sys.addaudithook`."""
        if event not in EVENTS or self.is_looking:
            return
        self.is_looking = True  # what follows has events as well
        try:
            self._look(event, " ".join(map(str, arguments)))
        finally:
            self.is_looking = False

    def _look(self, event: str, arguments: str) -> None:
        try:
            wanted, pattern, let_pass, number = self.file.read_text().splitlines()
            if event != wanted or not re.search(pattern, arguments):
                return
            self.passed += 1
            if self.passed <= int(let_pass):
                return
            self.file.rename(self.hit)
        except FileNotFoundError:  # there is none, or another process came first
            return
        self.hit.write_text(str(os.getpid()))
        # To this thread: it would go on for a while if another one had to be woken to take it.
        signal.pthread_kill(threading.get_ident(), int(number))


if "FAULT_POINT" in os.environ:
    sys.addaudithook(Point(Path(os.environ["FAULT_POINT"])).look)
