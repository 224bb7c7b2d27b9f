"""Fails the runs that were in progress when the platform or the machine went down.

On one machine, a run is a child process of its location's warm parent or code server, which reports
it as failed when the process dies. If that is gone as well, nothing reports the run: it would stay
in progress forever and hold its slots in the queue and in pools.

The restart of such a server fails its runs as well; that of a code server once it answers again.

In containers, the daemon would find such a run. But it checks runs and backfills side by side, and
a backfill that is checked just as its run is found lost ends for good, instead of waiting for the
run's retry. So lost runs are failed before the daemon starts: `python -m taxi_platform.lost_runs`.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import dagster as dg

from taxi_shared.warm_runs.launcher import PARENT_TAG, is_running

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# The tags of Dagster's launchers for a run's code server or container; no public names exist.
CODE_SERVER_TAG = ".dagster/grpc_info"
CONTAINER_TAG = "docker/container_id"
LostRun = tuple[dg.RunRecord, str]  # and what it ran under, such as `code server`
REASON = "The run was lost: the {} that it ran under is gone."


def find_lost_runs(home: Path) -> list[LostRun]:
    """The unfinished runs whose warm parent, code server or container is gone."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        unfinished = instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
    missing = [(record, _missing_worker(record.dagster_run)) for record in unfinished]
    return [(record, worker) for record, worker in missing if worker]


def fail_runs(home: Path, lost: Sequence[LostRun]) -> list[str]:
    """Report lost runs as failed; returns their ids.

    Not those that have changed since they were found: a run whose container is gone may have
    succeeded, and one that was about to start may be queued again, or run.
    """
    failed = []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for found, missing in lost:
            run = found.dagster_run
            now = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
            if [each.update_timestamp for each in now] == [found.update_timestamp]:
                instance.report_run_failed(run, REASON.format(missing))
                failed.append(run.run_id)
    return failed


def _missing_worker(run: dg.DagsterRun) -> str | None:
    """What ran a run and is gone; None if it is there, or if the run was never launched."""
    tags = run.tags
    if tags.get(PARENT_TAG):
        return None if is_running(run) else "warm parent"
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
    folder = Path(os.environ["DAGSTER_HOME"])
    for run_id in fail_runs(folder, find_lost_runs(folder)):
        click.echo(f"run {run_id} was lost")
