"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

from taxi_platform.graphql import FINISHED, GraphQL

SECONDS = 300
T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None],
    what: str | Callable[[], str] = "",
    seconds: float = SECONDS,
    pause: float = 0.1,
) -> T:
    """Wait until a condition is true; returns its value. Fails after some seconds.

    pause: between two looks, in seconds
    """
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"{text} did not happen in {seconds} s")
        time.sleep(pause)


def wait_for_status(graphql: GraphQL, run_id: str, *statuses: str, seconds: float = SECONDS) -> str:
    """Wait until a run has one of the statuses, by default any final one; returns it."""
    expected = statuses or FINISHED

    def status() -> str:
        found = graphql.run_status(run_id)
        return found if found in expected else ""

    return wait_for(status, f"status {' or '.join(expected)} of run {run_id}", seconds)
