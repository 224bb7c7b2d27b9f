"""Servers of an instance: each has a process group that ends with the instance's own process.

A guard leads each group, a shell that waits for the end of a pipe which this process holds open.
However this process ends, also by `kill -9`, the guard then kills its group: the server, and what
that has started. Linux could signal a server itself (PR_SET_PDEATHSIG), but not its children.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from taxi_platform.workspace import ROOT

GUARD = "trap '' INT TERM HUP; read -r _; kill -s KILL 0"
KILL_SECONDS = 5


@dataclass
class Server:
    """A server of an instance.

    port:       of the code server of a location whose runs end with it; None for others
    is_up:      whether it answers; None where nothing asks it
    keeps_open: file descriptors that it inherits
    """

    name: str
    command: Sequence[str]
    log: Path
    cwd: Path = ROOT
    port: int | None = None
    is_up: Callable[[], bool] | None = None
    keeps_open: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, env: Mapping[str, str]) -> None:
        """Start it in a new group; appends to its log."""
        # Ctrl-C reaches the foreground group only: this process, which then stops the others.
        self._guard = subprocess.Popen(
            ("sh", "-c", GUARD), stdin=subprocess.PIPE, env=dict(env), process_group=0
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(env),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
                pass_fds=self.keeps_open,
            )

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def end(self) -> str:
        """How its process ended, as in `was killed by SIGKILL`."""
        status = self.process.returncode if self.process else None
        if status is not None and status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def interrupt(self) -> None:
        """Ask it to stop."""
        if self.is_running and self.process:
            self.process.send_signal(signal.SIGINT)

    def wait(self, deadline: float) -> None:
        """Wait until it has stopped, until a time of `time.monotonic()`."""
        if self.process:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, deadline - time.monotonic()))

    def kill(self) -> None:
        """Kill what is left of it and of what it has started, and wait until all are gone.

        The kernel ends a killed process later than `kill` returns: on a busy machine up to 2 s
        later.
        """
        if self._guard is None:
            return
        deadline = time.monotonic() + KILL_SECONDS
        with suppress(ProcessLookupError, PermissionError):  # gone; or, on macOS, not reaped yet
            while time.monotonic() < deadline:
                os.killpg(self._guard.pid, signal.SIGKILL)
                self._guard.poll()
                if self.process:
                    self.process.poll()
                time.sleep(0.01)
        if self._guard.stdin:
            self._guard.stdin.close()
