"""A Dagster instance on this machine: a code server for each location, webserver and daemon, and
the report portal where it is wanted.

`dagster dev` starts the same processes one after the other. Here the code servers start side by
side, and each runs by the Python of its own environment.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import grpc
import requests
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from taxi_platform.graphql import GraphQL
from taxi_platform.locks import make_private_folder, open_lock
from taxi_platform.lost_runs import end_lost_runs
from taxi_platform.workspace import ROOT, Location, locations
from taxi_shared import settings
from taxi_shared.addresses import without_proxy_for_loopback
from taxi_shared.http import Session

HOST = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 15
PORTAL_LOCATION = "adhoc_reports"
ADDRESS = "address"  # the file in a home that has the address of its running webserver


class InstanceError(Exception):
    """The instance cannot be started, or something that it needs ended."""


@dataclass
class Instance:
    """A running instance: where its UI is, and how to ask it."""

    home: Path
    url: str
    graphql: GraphQL
    portal_url: str | None = None
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise InstanceError if a process of the instance has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise InstanceError(
                    f"{name} ended with status {process.returncode}:\n{self.log_tail(name)}"
                )

    def log(self, name: str) -> Path:
        return self.home / "servers" / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        text = self.log(name).read_text(errors="replace") if self.log(name).exists() else ""
        return "\n".join(text.splitlines()[-lines:])


@contextmanager
def run_instance(
    home: Path,
    *,
    port: int | None = None,
    portal_port: int | None = None,
    daemon: bool = True,
    environment: Mapping[str, str] | None = None,
    served: Sequence[Location] | None = None,
) -> Iterator[Instance]:
    """Start an instance, wait until its webserver answers, and end all of it afterwards.

    home:        DAGSTER_HOME; `dagster.yaml` is put there
    port:        of the webserver on 127.0.0.1, a free one where None
    portal_port: of the report portal on 127.0.0.1, which is not started where None
    daemon:      with schedules, sensors, queue and backfills; one instance a home may have it.
                 Without it, runs start at once instead of queueing
    environment: added to that of this process
    served:      the code locations, those of `workspace.yaml` where None

    A location that fails to load does not keep the instance from starting. Raises InstanceError.
    """
    check_ports(port, portal_port)
    port = port or free_port()
    url = f"http://{HOST}:{port}"
    served = locations() if served is None else served
    env = {
        # Until just before the daemon looks again, which it does every 5 seconds.
        settings.REQUEST_WATCH_SECONDS: "9.4",
        **os.environ,
        **(environment or {}),
        "DAGSTER_HOME": str(home),
        settings.DAGSTER_URL: url,
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env |= without_proxy_for_loopback(env)
    make_private_folder(home)
    make_private_folder(home / "servers")
    with ExitStack() as stack:
        if daemon:
            stack.enter_context(_alone(home))
        _prepare(home, env)
        end_lost_runs(home)
        if not daemon:
            env["DAGSTER_HOME"] = str(_home_without_queue(home))
        portal_url = f"http://{HOST}:{portal_port}" if portal_port else None
        instance = Instance(home, url, GraphQL(url), portal_url)
        stack.callback(_stop, instance._processes)

        def start(name: str, *command: str, cwd: Path = ROOT) -> None:
            with instance.log(name).open("wb") as log:
                # A session of its own: Ctrl-C reaches this process alone, which ends the others.
                instance._processes[name] = subprocess.Popen(
                    command, env=env, cwd=cwd, stdout=log, stderr=log, start_new_session=True
                )

        ports = {location.name: free_port() for location in served}
        for location in served:
            start(
                location.name,
                *(str(location.python), "-m", "dagster", "code-server", "start"),
                *("--host", HOST, "--port", str(ports[location.name])),
                *("--module-name", location.module, "--location-name", location.name),
                *("--working-directory", str(location.folder)),
                "--use-python-environment-entry-point",
                cwd=location.folder,
            )
        workspace = home / f"workspace-{port}.yaml"
        stack.callback(workspace.unlink, missing_ok=True)
        workspace.write_text(yaml.safe_dump(_grpc_workspace(ports)))
        for name, server_port in ports.items():
            _wait_for(instance, name, partial(_serves, f"{HOST}:{server_port}"))
        start(
            "webserver",
            *(sys.executable, "-m", "taxi_platform.webserver"),
            *("--host", HOST, "--port", str(port), "--workspace", str(workspace)),
        )
        if daemon:
            start(
                "daemon",
                *(str(Path(sys.executable).with_name("dagster-daemon")), "run"),
                *("--workspace", str(workspace)),
            )
        if portal_port:
            reporting = next(location for location in served if location.name == PORTAL_LOCATION)
            start(
                "portal",
                *(str(reporting.python), "-m", "adhoc_reports.portal"),
                *("--host", HOST, "--port", str(portal_port)),
                cwd=reporting.folder,
            )
        _wait_for(instance, "webserver", instance.graphql.is_up)
        if daemon:  # the one instance that may have this home
            stack.callback((home / ADDRESS).unlink, missing_ok=True)
            (home / ADDRESS).write_text(url)
        if daemon and env.get(settings.ALERTS):
            start(
                "alerts",
                *(sys.executable, "-m", "taxi_platform", "alerts"),
                *("--url", url, "--state", str(home / "alerts.json")),
            )
        if portal_url:
            _wait_for(instance, "portal", partial(_answers, f"{portal_url}/healthz"))
        yield instance


def running_at(homes: Sequence[Path]) -> str | None:
    """The address of the first running instance on these homes; None where there is none."""
    for home in homes:
        try:
            url = (home / ADDRESS).read_text()
        except OSError:
            continue
        if GraphQL(url).is_up():  # it may have been killed
            return url
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_ports(port: int | None, portal_port: int | None) -> None:
    """Raise InstanceError where a port of 127.0.0.1 is busy or cannot be one; None is none."""
    if port and port == portal_port:
        raise InstanceError(f"the UI and the portal cannot both have port {port}: change one")
    for number, another in ((port, "PORT=3001"), (portal_port, "PORTAL_PORT=8001")):
        if number:
            _check_port(number, another)


def _check_port(port: int, another: str) -> None:
    if not 0 < port < 65536:
        raise InstanceError(f"{port} is no port; expected a number up to 65535, as in {another}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InstanceError(
                f"port {port} of {HOST} is busy ({error.strerror}); give another, as in {another}"
            ) from None


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home: two daemons on one instance would each evaluate its sensors."""
    with open_lock(home / "daemon.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceError(
                f"an instance is already running on {home} (process {lock.read().strip()}); "
                "end that one first, or set DAGSTER_HOME to another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _prepare(home: Path, env: Mapping[str, str]) -> None:
    """Put the configuration into the home, and its databases on this Dagster's schema.

    Processes that start side by side on an empty home would each create the databases.
    """
    with open_lock(home / "schema.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
        if lock.read() == version("dagster"):
            return
        migrated = subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"],
            env=dict(env),
            capture_output=True,
            text=True,
        )
        if migrated.returncode:
            raise InstanceError(f"{home} cannot be brought up to date:\n{migrated.stderr}")
        lock.seek(0)
        lock.truncate()
        lock.write(version("dagster"))


def _home_without_queue(home: Path) -> Path:
    """A home with the same databases and logs, whose runs do not wait for a daemon."""
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    del config["concurrency"]
    base = {"base_dir": str(home)}
    config["storage"] = {"sqlite": base}
    config["local_artifact_storage"] = {
        "module": "dagster._core.storage.root",
        "class": "LocalArtifactStorage",
        "config": base,
    }
    config["run_coordinator"] = {
        "module": "dagster._core.run_coordinator",
        "class": "DefaultRunCoordinator",
    }
    other = home / "without-queue"
    other.mkdir(exist_ok=True)
    (other / "dagster.yaml").write_text(yaml.safe_dump(config))
    return other


def _grpc_workspace(ports: Mapping[str, int]) -> dict[str, object]:
    return {
        "load_from": [
            {"grpc_server": {"host": HOST, "port": port, "location_name": name}}
            for name, port in ports.items()
        ]
    }


def _wait_for(instance: Instance, name: str, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        instance.check()
        if time.monotonic() > deadline:
            raise InstanceError(
                f"{name} does not answer after {START_SECONDS} s:\n{instance.log_tail(name)}"
            )
        time.sleep(0.1)


def _serves(address: str) -> bool:
    """Whether there is a code server that is ready."""
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(service="DagsterApi"), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == HealthCheckResponse.SERVING)


def _answers(url: str) -> bool:
    try:
        with Session() as session:
            return session.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _stop(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """End the daemon and the webserver, then the code servers; kill what does not end."""
    for process in reversed(list(processes.values())):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    for process in processes.values():
        # What a child has started is in its process group, and may outlive it.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
