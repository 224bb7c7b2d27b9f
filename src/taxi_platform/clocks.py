"""Repairs what a clock that was ahead has left in Dagster's records.

A sensor waits for its interval since its last tick, a schedule for its next time after it. If a
tick is of the year 2036, because the clock was, nothing is due until then. So such times are set to
now before the daemon starts: `python -m taxi_platform.clocks`.
"""

import os
import time
from pathlib import Path
from typing import Any

import click
import dagster as dg

AHEAD_SECONDS = 60.0
"""By as much, two machines' clocks may differ."""


def reset_future_ticks(home: Path) -> list[str]:
    """Reset sensors and schedules with ticks in the future; returns their names.

    Their ticks are removed: Dagster would show the one in the future as the last one.
    """
    now = time.time()
    latest = now + AHEAD_SECONDS
    found = []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for state in instance.all_instigator_state():
            origin, selector, data = (
                state.instigator_origin_id,
                state.selector_id,
                state.instigator_data,
            )
            times = data._asdict() if data else {}  # a named tuple
            ahead: dict[str, Any] = {
                name: now
                for name, value in times.items()
                if name.endswith("timestamp") and (value or 0) > latest
            }
            ticks = instance.get_ticks(origin, selector, after=latest, limit=1)
            if data and ahead:
                instance.update_instigator_state(state.with_data(data._replace(**ahead)))
            if ticks:
                instance.purge_ticks(origin, selector, before=ticks[0].timestamp + 1)
            if ahead or ticks:
                found.append(state.instigator_name)
    return sorted(found)


if __name__ == "__main__":
    for name in reset_future_ticks(Path(os.environ["DAGSTER_HOME"])):
        click.echo(f"{name} had ticks in the future: the clock was ahead")
