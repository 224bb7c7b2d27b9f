"""Starts servers of an instance again when they have ended, or no longer answer."""

import time
from collections.abc import Callable
from threading import Event, Thread

from taxi_platform.servers import Server

INTERVAL_SECONDS = 1
# A server that has answered, and then has not for so long, is killed: a busy machine may keep it
# from answering for a minute.
LOOK_SECONDS, HUNG_SECONDS = 10, 180
# Before each restart. After the last one an instance ends, but for a code location's servers: its
# code may not load, which is no reason to end the others.
DELAYS = (1, 2, 4, 8, 16)
STEADY_SECONDS = 60  # A server that has run for so long is started after the first delay again.


class Watcher(Thread):
    """Watches one server, until `stopping` is set. `failure` says why it gave up."""

    def __init__(
        self,
        server: Server,
        restart: Callable[[Server], None],
        report: Callable[[str], None],
        stopping: Event,
    ) -> None:
        super().__init__(name=f"watcher of {server.name}", daemon=True)
        self.failure: str | None = None
        self._server = server
        self._restart = restart
        self._report = report
        self._stopping = stopping
        self._looked = 0.0
        self._answered: float | None = None

    def run(self) -> None:
        """Restart the server each time that it has ended."""
        restarts, since = 0, time.monotonic()
        while not self._stopping.wait(INTERVAL_SECONDS):
            if self._server.is_running:
                self._kill_if_hung()
                continue
            self._answered = None
            if time.monotonic() - since > STEADY_SECONDS:
                restarts = 0
            if restarts == len(DELAYS) and self._server.port is None:
                self.failure = (
                    f"{self._server.name} {self._server.end}, {restarts} restarts did not help:\n"
                    f"{self._server.log_tail()}"
                )
                return
            delay = DELAYS[min(restarts, len(DELAYS) - 1)]
            self._report(
                f"{self._server.name} {self._server.end}; it restarts in {delay} s "
                f"({self._server.log})"
            )
            if self._stopping.wait(delay):
                return
            restarts, since = restarts + 1, time.monotonic()
            try:
                self._restart(self._server)
            except Exception as error:  # such as `database is locked`; the next turn tries again
                self._report(f"The restart of {self._server.name} failed: {error}")

    def _kill_if_hung(self) -> None:
        """Kill a server that no longer answers."""
        is_up, now = self._server.is_up, time.monotonic()
        if is_up is None or (self._answered and now - self._looked < LOOK_SECONDS):
            return
        self._looked = now
        if is_up():
            self._answered = time.monotonic()
        elif self._answered and now - self._answered > HUNG_SECONDS:
            self._report(f"{self._server.name} has not answered for {HUNG_SECONDS} s")
            self._server.kill()
