"""Fails the runs that were in progress when the platform or the machine went down.

On one machine, a run is a child process of its location's code server, which reports it as failed
when the process dies. If the code server is gone as well, nothing reports the run: it would stay in
progress forever and hold its slots in the queue and in pools.

In containers, the daemon would find such a run. But it checks runs and backfills side by side, and
a backfill that is checked just as its run is found lost ends for good, instead of waiting for the
run's retry. So lost runs are failed before the daemon starts: `python -m taxi_platform.lost_runs`.
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
# The tags of Dagster's launchers for a run's code server or container; no public names exist.
CODE_SERVER_TAG = ".dagster/grpc_info"
CONTAINER_TAG = "docker/container_id"
REASON = "The run was lost: the {} that it ran under is gone. The platform has been restarted."


def fail_lost_runs(home: Path) -> list[str]:
    """Report runs as failed whose code server or container is gone; returns their ids."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        missing = {run.run_id: _missing_worker(run) for run in unfinished}
        # Check the status again: a run whose container is gone may have succeeded meanwhile.
        lost = [r for r in unfinished if missing[r.run_id] and _status(instance, r) in UNFINISHED]
        for run in lost:
            instance.report_run_failed(run, REASON.format(missing[run.run_id]))
    return [run.run_id for run in lost]


def _status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus | None:
    found = instance.get_run_by_id(run.run_id)
    return found.status if found else None


def _missing_worker(run: dg.DagsterRun) -> str | None:
    """What ran a run and is gone; None if it is there, or if the run was never launched."""
    tags = run.tags
    if CONTAINER_TAG in tags:
        return None if _container_exists(tags[CONTAINER_TAG]) else "container"
    if CODE_SERVER_TAG in tags:
        return None if _accepts_connections(json.loads(tags[CODE_SERVER_TAG])) else "code server"
    return None


def _container_exists(container: str) -> bool:
    import docker  # only installed where runs are containers
    from docker.errors import NotFound

    try:
        docker.from_env().containers.get(container)
    except NotFound:
        return False
    return True


def _accepts_connections(server: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection((server["host"], server["port"]), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    for run_id in fail_lost_runs(Path(os.environ["DAGSTER_HOME"])):
        click.echo(f"run {run_id} was lost")
