"""Runs that are cancelled while they wait for work elsewhere."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import dagster as dg

from taxi_shared.engines import Engine, Question

ENDLESS = """
SELECT COUNT(*) AS num_trips FROM range(10000000) AS a(i), range(10000000) AS b(j)
WHERE i * j % 7 = $remainder
"""
"""A query of DuckDB that counts rows for days: it cannot know their number otherwise."""


def cancel_while_asking(engine: Engine, question: Question[Any], begun: Callable[[], bool]) -> bool:
    """Ask in the run of an asset, and cancel the run once the query has begun.

    Returns whether the run materialized the asset.
    """
    asset_key = dg.AssetKey("asked")

    @dg.asset(key=asset_key)
    def asked(context: dg.AssetExecutionContext) -> int:
        return len(engine.ask(context, question).rows)

    def cancel() -> None:
        while not begun():
            pause.wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)  # as Dagster does

    pause = threading.Event()
    thread = threading.Thread(target=cancel)
    thread.start()
    with dg.DagsterInstance.ephemeral() as instance:
        try:
            dg.materialize([asked], instance=instance)
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            thread.join()
        return instance.get_latest_materialization_event(asset_key) is not None
