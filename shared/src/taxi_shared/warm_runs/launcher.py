"""The launcher of warm runs, for dagster.yaml.

    run_launcher:
      module: taxi_shared.warm_runs
      class: WarmRunLauncher
      config:
        folder: /run/warm
        cold: {module: dagster_docker, class: DockerRunLauncher, config: {}}

`folder` has a folder per location with its socket; by default it is `warm` in DAGSTER_HOME. `cold`
is the launcher of runs without a parent; by default Dagster's own.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
import yaml
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from taxi_shared.warm_runs.protocol import GO, SOCKET, NoAnswer, request

if TYPE_CHECKING:
    from dagster._config.config_schema import UserConfigSchema

PARENT_TAG = ".warm_runs/parent"
"""Of a run: the socket of its parent; empty where it started cold, as the retry of a warm run."""
COLD_TAG = "warm_runs/cold"
"""With the value `true`, a run starts cold: one that takes long, or much memory."""
# A parent whose code has changed imports it first.
START_SECONDS = 30.0
ANSWER_SECONDS = 10.0
DEFAULT_COLD = {"module": "dagster", "class": "DefaultRunLauncher", "config": {}}


class WarmRunLauncher(RunLauncher[Any], ConfigurableClass):
    """Has the parent of a run's location start the run, and another launcher where it cannot."""

    def __init__(
        self,
        folder: str | None = None,
        cold: Mapping[str, Any] = DEFAULT_COLD,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        """Make a launcher with the parents' sockets in `folder`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = Path(folder) if folder else None
        data = ConfigurableClassData(cold["module"], cold["class"], yaml.dump(cold["config"]))
        self._cold = data.rehydrate(as_type=RunLauncher)  # type: ignore[type-abstract]
        self._inst_data = inst_data
        self._missing: set[str] = set()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The configuration in dagster.yaml."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> "UserConfigSchema":
        """The schema of `config`."""
        launcher = {"module": str, "class": str, "config": dict}
        return {
            "folder": dg.Field(dg.StringSource, is_required=False),
            "cold": dg.Field(launcher, default_value=DEFAULT_COLD),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The launcher for `config` in dagster.yaml."""
        return cls(**config_value, inst_data=inst_data)

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Learn the instance, as the cold launcher does."""
        super().register_instance(instance)
        self._cold.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run, from the parent of its location if that answers."""
        run = context.dagster_run
        # A location that has no folder there is not meant to have a parent.
        if run.tags.get(COLD_TAG) != "true" and self._socket(run).parent.exists():
            try:
                self._start(run)
            except NoAnswer as error:
                message = f"The run starts cold, two seconds later: no warm parent at {error}."
                self._instance.report_engine_event(message, run, cls=type(self))
            else:
                return
        if PARENT_TAG in run.tags:  # a retry has the tags of the run before
            self._instance.add_run_tags(run.run_id, {PARENT_TAG: ""})
        self._cold.launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run; False if it was not running."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if not run.tags.get(PARENT_TAG):
            return self._cold.terminate(run_id)
        self._instance.report_run_canceling(run)
        return _ask(run, "stop", otherwise=False)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: runs are watched."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is there; it is gone once it was missing in two checks.

        Where the daemon restarts together with a location, its first check comes before the
        location is loaded. Dagster does not retry a run that fails then.
        """
        if run.tags.get(PARENT_TAG):
            was_missing = run.run_id in self._missing
            self._missing.discard(run.run_id)
            if is_running(run):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            if was_missing:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The run's process is gone.")
            self._missing.add(run.run_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Missing; the next check decides.")
        if self._cold.supports_check_run_worker_health:
            return self._cold.check_run_worker_health(run)
        return CheckRunHealthResult(WorkerStatus.RUNNING)  # as far as its launcher can say

    def get_run_worker_debug_info(
        self, run: dg.DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        """What the cold launcher knows of a run that it started."""
        if run.tags.get(PARENT_TAG):
            return None
        return self._cold.get_run_worker_debug_info(run, include_container_logs)

    def dispose(self) -> None:
        """Release what the cold launcher holds."""
        self._cold.dispose()

    def join(self, timeout: int = 30) -> None:
        """Wait for the runs that the cold launcher has started."""
        self._cold.join(timeout)

    def has_parent(self, run: dg.DagsterRun) -> bool:
        """Whether a parent listens for runs of a run's location, as far as its socket says."""
        return run.tags.get(COLD_TAG) != "true" and self._socket(run).exists()

    def _socket(self, run: dg.DagsterRun) -> Path:
        origin = run.remote_job_origin
        if origin is None:
            raise dg.DagsterInvariantViolationError(f"Run {run.run_id} has no code location.")
        folder = self._folder or Path(self._instance.root_directory) / "warm"
        return folder / origin.location_name / SOCKET

    def _start(self, run: dg.DagsterRun) -> None:
        """Start a run from its parent. Raises NoAnswer."""
        path = self._socket(run)
        if run.job_code_origin is None:
            raise dg.DagsterInvariantViolationError(f"Run {run.run_id} has no code.")
        arguments = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
        command = arguments.get_command_args()[-3:]  # without the location's program
        start = {"do": "start", "run_id": run.run_id, "command": command}
        with request(path, START_SECONDS, **start) as (answer, connection):
            # First the tag, then GO: a run that runs is always found.
            self._instance.add_run_tags(run.run_id, {PARENT_TAG: answer["parent"]})
            with suppress(OSError):  # its process has died, which the parent reports
                connection.sendall(GO)


def is_running(run: dg.DagsterRun) -> bool:
    """Whether a warm run has a process, as far as its parent says."""
    return _ask(run, "check", otherwise=True)


def _ask(run: dg.DagsterRun, question: str, otherwise: bool) -> bool:
    """What the parent of a warm run answers; `otherwise` where it is too busy to answer."""
    message = {"do": question, "run_id": run.run_id}
    try:
        with request(Path(run.tags[PARENT_TAG]), ANSWER_SECONDS, **message) as (answer, _):
            return bool(answer["is_running"])
    except NoAnswer as error:
        return otherwise and not error.is_gone
