"""The watcher: polls for problems, sends each once, and retries what could not be sent."""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import requests
from upath import UPath

from taxi_platform.alerts.channels import Channel, DeliveryError
from taxi_platform.alerts.message import Message
from taxi_platform.graphql import GraphQL, GraphQLError
from taxi_platform.problems import Problem, find_problems
from taxi_shared.addresses import without_secrets
from taxi_shared.secrets import SecretError
from taxi_shared.storage import atomic_path

log = logging.getLogger("taxi_platform.alerts")

POLL_SECONDS = 15.0
# Dagster may store a failure a little after its timestamp.
OVERLAP_SECONDS = 300.0
# A sensor that keeps failing is reported once, and again after an hour without a failure.
QUIET_SECONDS = 3600.0
# Problems found within this time after a message are sent together in the next one.
BATCH_SECONDS = 60.0
MAX_RETRY_SECONDS = 600.0


@dataclass
class State:
    """The state between two polls, kept in a file.

    polled_at: the time of the last poll
    reported:  when each reported problem was last seen, by key
    outbox:    the problems still to send, by channel
    """

    polled_at: float
    reported: dict[str, float] = field(default_factory=dict)
    outbox: dict[str, list[Problem]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, now: float) -> "State":
        """Read the state from a file; without one, what failed before `now` is not reported.

        Times after `now`, of a clock that was ahead, count as now.
        """
        if not path.exists():
            return cls(polled_at=now)
        values = json.loads(path.read_text())
        outbox = {
            channel: [Problem(**problem) for problem in problems]
            for channel, problems in values["outbox"].items()
        }
        # Earlier releases wrote `looked` and `told`.
        polled_at = values["polled_at"] if "polled_at" in values else values["looked"]
        reported = values["reported"] if "reported" in values else values["told"]
        reported = {key: min(last, now) for key, last in reported.items()}
        return cls(min(polled_at, now), reported, outbox)

    def save(self, path: Path) -> None:
        """Replace the file. Only its owner can read it, as errors may quote confidential data."""
        with (
            atomic_path(UPath(path)) as partial_file,
            open(partial_file, "w", opener=partial(os.open, mode=0o600)) as file,
        ):
            json.dump(asdict(self), file)

    def add(self, found: Sequence[Problem], channels: Sequence[str], now: float) -> None:
        """Put the problems that were not reported yet into every channel's outbox."""
        new = [problem for problem in found if not self._is_reported(problem, now)]
        for problem in found:
            self.reported[problem.key] = problem.last or now
        for channel in channels:
            self.outbox.setdefault(channel, []).extend(
                problem if problem.first else replace(problem, first=now, last=now)
                for problem in new
            )
        oldest = now - QUIET_SECONDS - 2 * OVERLAP_SECONDS
        self.reported = {key: last for key, last in self.reported.items() if last > oldest}
        self.polled_at = now

    def _is_reported(self, problem: Problem, now: float) -> bool:
        last = self.reported.get(problem.key)
        return last is not None and (problem.first or now) - last < QUIET_SECONDS


@dataclass
class Watcher:
    """Polls an instance and sends its problems.

    path: the file of the state
    ui:   the address of the UI in links
    """

    graphql: GraphQL
    channels: Sequence[Channel]
    path: Path
    ui: str
    _next_try: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ui = without_secrets(self.ui)
        self.state = State.load(self.path, time.time())
        self.state.save(self.path)

    def run_forever(self) -> None:
        """Poll and send every `POLL_SECONDS`."""
        while True:
            try:
                self.poll()
                self.send()
            except Exception:  # the watcher must outlive any error
                log.exception("Polling or sending failed; next try in %.0f s", POLL_SECONDS)
            time.sleep(POLL_SECONDS)

    def poll(self) -> None:
        """Find new problems. If the webserver does not answer, the next poll goes further back."""
        now = time.time()
        try:
            since = min(self.state.polled_at, now)  # the clock may have been ahead
            found = find_problems(self.graphql, since - OVERLAP_SECONDS)
        except (requests.RequestException, GraphQLError, ValueError) as error:
            text = f"Could not query {self.graphql.url}: {error}"
            log.warning("%s", without_secrets(text))
            return
        self.state.add(found, [channel.name for channel in self.channels], now)
        self.state.save(self.path)

    def send(self) -> None:
        """Send the problems in each channel's outbox; those that fail are retried later."""
        for channel in self.channels:
            problems = self.state.outbox.get(channel.name)
            if not problems or time.time() < self._next_try.get(channel.name, 0):
                continue
            try:
                channel.send(Message(problems, self.ui))
            except (DeliveryError, SecretError) as error:
                wait = self._back_off(channel.name)
                log.error("%s; %s problems kept, next try in %.0f s", error, len(problems), wait)
                continue
            self.state.outbox[channel.name] = []
            self.state.save(self.path)
            self._failures[channel.name] = 0
            self._next_try[channel.name] = time.time() + BATCH_SECONDS

    def _back_off(self, channel: str) -> float:
        """Wait twice as long after each failure of a channel; returns the seconds."""
        failures = self._failures[channel] = self._failures.get(channel, 0) + 1
        wait = float(min(POLL_SECONDS * 2 ** (failures - 1), MAX_RETRY_SECONDS))
        self._next_try[channel] = time.time() + wait
        return wait
