"""Runs that start warm: a process with the location's code imported forks for each run.

By itself, Dagster starts Python for each run, which then imports Dagster, the storage of its
instance and the location's code: two seconds, where a report takes half a second to compute. Here
each location has a `parent`, which has imported all of that and forks a process for each run. Runs
stay separate processes: memory is returned at the end of a run, and a crash ends one run.

    python -m taxi_shared.warm_runs SOCKET MODULE…    the parent of a location, see `parent`
    WarmRunLauncher                                   for dagster.yaml, see `launcher`

Linux only. Elsewhere, and where no parent answers, runs start as without this package. Nothing in
it depends on the rest of the platform.
"""

from taxi_shared.warm_runs.launcher import WarmRunLauncher

__all__ = ["WarmRunLauncher"]
