"""The process of a cancelled run ends.

Dagster interrupts the main thread of a run that is cancelled, which code outside Python may delay.
After `cancel_timeout_seconds` Dagster counts the run as over and gives its slots to the next one,
whatever its process does. So the process sees to it that it ends before.
"""

import logging
import os
import threading
import time
import weakref

import dagster as dg

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
GRACE_SECONDS = 6.0
"""How long a cancelled run may clean up; with the poll before it, less than 10 s."""


def end_when_cancelled(instance: dg.DagsterInstance, run_id: str) -> None:
    """End this process if a run of it has not ended some seconds after it was cancelled."""
    known = weakref.ref(instance)  # a process may outlive it: not that of a run, but that of a test
    threading.Thread(target=_watch, args=(known, run_id), name="watch", daemon=True).start()


def _watch(known: "weakref.ref[dg.DagsterInstance]", run_id: str) -> None:
    is_cancelled = False
    while True:
        time.sleep(GRACE_SECONDS if is_cancelled else POLL_SECONDS)
        if (instance := known()) is None:
            return
        try:
            run = instance.get_run_by_id(run_id)
        except Exception as error:  # each database has its own
            log.debug("The status of run %s could not be read: %s", run_id, error)
            continue
        if run is None or run.is_finished:
            return
        if is_cancelled:
            _end(instance, run)
        is_cancelled = run.status is dg.DagsterRunStatus.CANCELING
        del instance


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Report a run as cancelled, so that Dagster does not retry it, and end this process."""
    try:
        instance.report_run_canceled(run, "The run was cancelled, and its process was ended.")
    finally:
        os._exit(1)
