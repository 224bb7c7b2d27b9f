"""Runs that are cancelled while they wait for work elsewhere."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from taxi_shared.engines import Engine, Question

ENDLESS = """
SELECT COUNT(*) AS num_trips FROM range(10000000) AS a(i), range(10000000) AS b(j)
WHERE i * j % 7 = $remainder
"""
"""A query of DuckDB that counts rows for days: it cannot know their number otherwise."""


@contextmanager
def cancelled_when(begun: Callable[[], bool]) -> Iterator[None]:
    """Cancel the run of this block, as Dagster does, once something has begun."""

    def cancel() -> None:
        while not begun():
            if ended.wait(0.02):
                return
        os.kill(os.getpid(), signal.SIGINT)

    ended = threading.Event()
    thread = threading.Thread(target=cancel)
    # Python drops an exception that a signal raises in a finalizer, and the collector runs them.
    gc.disable()
    try:
        thread.start()
        with suppress(dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            yield
    finally:
        ended.set()
        thread.join()
        gc.enable()


def cancel_while_asking(engine: Engine, question: Question[Any], begun: Callable[[], bool]) -> bool:
    """Ask in the run of an asset, and cancel the run once the query has begun.

    Returns whether the run materialized the asset.
    """
    asset_key = dg.AssetKey("asked")

    @dg.asset(key=asset_key)
    def asked(context: dg.AssetExecutionContext) -> int:
        return len(engine.ask(context, question).rows)

    with dg.DagsterInstance.ephemeral() as instance:
        with cancelled_when(begun):
            dg.materialize([asked], instance=instance)
        return instance.get_latest_materialization_event(asset_key) is not None
