"""Runs that were going when the platform ended, or the machine did.

On one machine, a run is a child of its location's code server, which reports it as failed when
its process dies. Of a code server that is gone nobody is left to tell: its runs would count as
going for ever, and hold their places in the queue and in pools.

In containers, the daemon would find them. But it looks at runs and at backfills side by side, and a
backfill that is looked at in the moment in which its run is found to be lost is ended for good,
instead of waiting for the run's second try. So they are found before the daemon starts:
`python -m taxi_platform.lost_runs`.
"""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Where Dagster's launchers note the code server or the container of a run; they export no names.
CODE_SERVER_TAG = ".dagster/grpc_info"
CONTAINER_TAG = "docker/container_id"
LOST = "The run was lost: the {} that it ran under is gone. The platform has been restarted."


def end_lost_runs(home: Path) -> list[str]:
    """Report the runs of an instance as failed that nothing runs any more; their ids."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        gone = {run.run_id: _worker_gone(run) for run in unfinished}
        # Looked at again: a run whose container is gone by now may have ended well meanwhile.
        lost = [r for r in unfinished if gone[r.run_id] and _status(instance, r) in UNFINISHED]
        for run in lost:
            instance.report_run_failed(run, LOST.format(gone[run.run_id]))
    return [run.run_id for run in lost]


def _status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus | None:
    found = instance.get_run_by_id(run.run_id)
    return found.status if found else None


def _worker_gone(run: dg.DagsterRun) -> str | None:
    """What ran a run and is gone. One that nothing was asked to run is the daemon's to watch."""
    tags = run.tags
    if CONTAINER_TAG in tags:
        return None if _is_there(tags[CONTAINER_TAG]) else "container"
    if CODE_SERVER_TAG in tags:
        return None if _answers(json.loads(tags[CODE_SERVER_TAG])) else "code server"
    return None


def _is_there(container: str) -> bool:
    import docker  # only where runs are containers
    from docker.errors import NotFound

    try:
        docker.from_env().containers.get(container)
    except NotFound:
        return False
    return True


def _answers(server: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection((server["host"], server["port"]), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    for run_id in end_lost_runs(Path(os.environ["DAGSTER_HOME"])):
        click.echo(f"run {run_id} was lost")
