"""Runs that were going when the platform ended, or the machine did.

A run is a child of its location's code server, which reports it as failed when its process dies.
Of a code server that is gone nobody is left to tell: its runs would count as going for ever, and
hold their places in the queue and in pools.
"""

import json
import socket
from pathlib import Path

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Where Dagster's launcher notes the code server of a run; it exports no name for it.
CODE_SERVER_TAG = ".dagster/grpc_info"
LOST = (
    "The run was lost: the code server that it ran under is gone. The platform has been restarted."
)


def end_lost_runs(home: Path) -> list[str]:
    """Report the runs of an instance as failed whose code server does not answer; their ids."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        lost = [run for run in unfinished if not _has_code_server(run)]
        for run in lost:
            instance.report_run_failed(run, LOST)
    return [run.run_id for run in lost]


def _has_code_server(run: dg.DagsterRun) -> bool:
    """A run that is not with a code server yet is the daemon's to watch."""
    server = json.loads(run.tags.get(CODE_SERVER_TAG, "{}"))
    if not server:
        return True
    try:
        socket.create_connection((server["host"], server["port"]), timeout=5).close()
    except OSError:
        return False
    return True
