"""Dagster's daemon, which looks at sensors and backfills more often.

`python -m taxi_platform.daemon run OPTIONS` is `dagster-daemon run` with these options. By itself,
Dagster looks at sensors every 5 s, so a request that arrives just after another one waits that
long for a report that takes one second; and at backfills every 30 s. Each look reads a few rows.
No setting exists (dagster 1.13). Where these constants are gone, the daemon is Dagster's own.
"""

import importlib
import logging
import runpy
import sys

from taxi_shared.revisions import keep_revisions

# Module, constant, seconds.
INTERVALS = (
    ("dagster._daemon.sensor", "MIN_INTERVAL_LOOP_TIME", 1),
    ("dagster._daemon.controller", "DEFAULT_DAEMON_INTERVAL_SECONDS", 5),
)

log = logging.getLogger(__name__)


def shorten_intervals() -> None:
    """Set the seconds between two looks of the daemon."""
    for name, constant, seconds in INTERVALS:
        module = importlib.import_module(name)
        if isinstance(getattr(module, constant, None), int):
            setattr(module, constant, seconds)
        else:
            log.warning("%s.%s is gone: Dagster's own interval holds.", name, constant)


if __name__ == "__main__":
    shorten_intervals()
    keep_revisions()
    sys.argv[0] = "dagster-daemon"
    runpy.run_module("dagster._daemon", run_name="__main__", alter_sys=True)
