"""The watch: polls for problems, sends each once, and keeps what could not be sent."""

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

from taxi_platform.alerts.channels import Channel, NotSent
from taxi_platform.alerts.message import Message
from taxi_platform.graphql import GraphQL, GraphQLError
from taxi_platform.problems import Problem, find_problems
from taxi_shared.addresses import without_secrets
from taxi_shared.secrets import SecretError
from taxi_shared.storage import atomic_path

log = logging.getLogger("taxi_platform.alerts")

LOOK_SECONDS = 15.0
# A failed event may be stored a little after its time.
OVERLAP_SECONDS = 300.0
# A sensor that keeps failing is reported once, and again after an hour without failure.
QUIET_SECONDS = 3600.0
# What comes within this time of a message goes into the next one.
GATHER_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 600.0


@dataclass
class State:
    """The state between two polls, kept in a file.

    looked: the time of the last poll
    told:   when each reported problem was last seen, by key
    outbox: the problems that each channel has yet to send
    """

    looked: float
    told: dict[str, float] = field(default_factory=dict)
    outbox: dict[str, list[Problem]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, now: float) -> "State":
        """The state of a file; without one, what happened before `now` is not reported."""
        if not path.exists():
            return cls(looked=now)
        values = json.loads(path.read_text())
        outbox = {
            channel: [Problem(**problem) for problem in problems]
            for channel, problems in values["outbox"].items()
        }
        return cls(values["looked"], values["told"], outbox)

    def save(self, path: Path) -> None:
        """Replace the file. Only its owner can read it, as errors may quote confidential data."""
        with (
            atomic_path(UPath(path)) as partial_file,
            open(partial_file, "w", opener=partial(os.open, mode=0o600)) as file,
        ):
            json.dump(asdict(self), file)

    def take(self, found: Sequence[Problem], channels: Sequence[str], now: float) -> None:
        """Put the problems that were not reported yet into every channel's outbox."""
        news = [problem for problem in found if not self._is_told(problem, now)]
        for problem in found:
            self.told[problem.key] = problem.last or now
        for channel in channels:
            self.outbox.setdefault(channel, []).extend(
                problem if problem.first else replace(problem, first=now, last=now)
                for problem in news
            )
        oldest = now - QUIET_SECONDS - 2 * OVERLAP_SECONDS
        self.told = {key: last for key, last in self.told.items() if last > oldest}
        self.looked = now

    def _is_told(self, problem: Problem, now: float) -> bool:
        last = self.told.get(problem.key)
        return last is not None and (problem.first or now) - last < QUIET_SECONDS


@dataclass
class Watch:
    """Polls an instance and sends its problems; `ui` is the UI's address in links."""

    graphql: GraphQL
    channels: Sequence[Channel]
    path: Path
    ui: str
    gather_seconds: float = GATHER_SECONDS
    _not_before: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ui = without_secrets(self.ui)
        self.state = State.load(self.path, time.time())
        self.state.save(self.path)

    def forever(self) -> None:
        while True:
            try:
                self.look()
                self.send()
            except Exception:  # whatever it is, the next look may succeed
                log.exception("the watch could not look or send")
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Find new problems. If the webserver does not answer, the next poll goes further back."""
        now = time.time()
        try:
            found = find_problems(self.graphql, self.state.looked - OVERLAP_SECONDS)
        except (requests.RequestException, GraphQLError, ValueError) as error:
            text = f"{self.graphql.url} does not tell what went wrong: {error}"
            log.warning("%s", without_secrets(text))
            return
        self.state.take(found, [channel.name for channel in self.channels], now)
        self.state.save(self.path)

    def send(self) -> None:
        """Send what each channel has in its outbox; what fails stays there for a later time."""
        for channel in self.channels:
            problems = self.state.outbox.get(channel.name)
            if not problems or time.time() < self._not_before.get(channel.name, 0):
                continue
            try:
                channel.send(Message(problems, self.ui))
            except (NotSent, SecretError) as error:
                wait = self._wait_after_failure(channel.name)
                log.error("%s; %s kept, next try in %.0f s", error, len(problems), wait)
                continue
            self.state.outbox[channel.name] = []
            self.state.save(self.path)
            self._failures[channel.name] = 0
            self._not_before[channel.name] = time.time() + self.gather_seconds

    def _wait_after_failure(self, channel: str) -> float:
        failures = self._failures[channel] = self._failures.get(channel, 0) + 1
        wait = float(min(LOOK_SECONDS * 2 ** (failures - 1), LONGEST_WAIT_SECONDS))
        self._not_before[channel] = time.time() + wait
        return wait
