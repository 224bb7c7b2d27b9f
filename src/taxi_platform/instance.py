"""A Dagster instance on this machine: code servers, webserver, daemon, report portal and alerts.

A server that ends is started again. `dg dev` cannot replace this: it serves the webserver without
the guard of `taxi_platform.webserver`, starts one code location after the other, restarts none, and
knows neither the portal nor lost runs.
"""

import fcntl
import os
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
from threading import Event, Lock
from typing import IO, Any

import yaml
from rich.console import Console

from taxi_platform.clocks import reset_future_ticks
from taxi_platform.graphql import GraphQL
from taxi_platform.locks import make_private_folder, open_lock
from taxi_platform.lost_runs import fail_runs, find_lost_runs
from taxi_platform.servers import Server
from taxi_platform.watcher import Watcher
from taxi_platform.workspace import ROOT, Location, locations
from taxi_shared.addresses import without_proxy_for_loopback
from taxi_shared.health import has_code, is_code_server_up, is_web_server_up
from taxi_shared.json_logs import dagster_config
from taxi_shared.warm_runs.protocol import SOCKET

HOST = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 15
# The daemon polls a code server that answers again once per second, and then loads its definitions.
# It gives up the retry of a run whose location is not loaded.
RELOAD_SECONDS = 5
MAX_PORT = 65535
PORTAL_LOCATION = "adhoc_reports"
ADDRESS_FILE = "address"  # in DAGSTER_HOME, with the URL of the running webserver


class InstanceError(Exception):
    """The instance cannot start, or one of its servers ends time and again."""


@dataclass
class Instance:
    """A Dagster instance that runs within `with Instance(home) as instance:`.

    home:        DAGSTER_HOME; `dagster.yaml` is copied there
    port:        port of the webserver on 127.0.0.1; a free one by default
    portal_port: port of the report portal on 127.0.0.1; no portal by default
    daemon:      run schedules, sensors, queue and backfills; one instance per home can do so.
                 Without a daemon, runs start at once instead of queueing
    warm:        start a warm parent per location, which runs are forked from; needs the daemon
    environment: variables in addition to those of this process
    served:      the code locations, by default those of `dg.toml`
    report:      shows a message to the user when a server has ended

    A code location that fails to load does not keep the instance from starting.
    """

    home: Path
    port: int = 0
    portal_port: int | None = None
    daemon: bool = True
    warm: bool = sys.platform == "linux"
    environment: Mapping[str, str] = field(default_factory=dict)
    served: Sequence[Location] = field(default_factory=locations)
    report: Callable[[str], None] = Console(stderr=True, soft_wrap=True).print
    servers: dict[str, Server] = field(default_factory=dict, init=False)
    _watchers: list[Watcher] = field(default_factory=list, init=False)
    _env: dict[str, str] = field(default_factory=dict, init=False)
    _lock: IO[str] | None = field(default=None, init=False)
    _failing_runs: Lock = field(default_factory=Lock, init=False)
    _stopping: Event = field(default_factory=Event, init=False)
    _cleanup: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def url(self) -> str:
        """The address of the webserver."""
        return f"http://{HOST}:{self.port}"

    @property
    def portal_url(self) -> str | None:
        """The address of the report portal, None without one."""
        return f"http://{HOST}:{self.portal_port}" if self.portal_port else None

    @property
    def graphql(self) -> GraphQL:
        """The API of the webserver."""
        return GraphQL(self.url)

    def __enter__(self) -> "Instance":
        """Start everything and wait until it answers. Raises InstanceError."""
        check_ports(self.port, self.portal_port)
        self.port = self.port or free_port()
        with ExitStack() as stack:
            self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._cleanup.close()

    @property
    def has_daemon(self) -> bool:
        """Whether a daemon runs on the home: its own, or that of another instance."""
        return self.daemon or running_at([self.home]) is not None

    def check(self) -> None:
        """Raise InstanceError if a server has ended time and again."""
        for watcher in self._watchers:
            if watcher.failure:
                raise InstanceError(watcher.failure)

    def log(self, name: str) -> Path:
        """The log file of a server, such as `webserver` or a code location's name.

        An instance without a daemon has other files: it may run beside one that has a daemon.
        """
        return self.home / ("servers" if self.daemon else "servers-without-queue") / f"{name}.log"

    def _start(self, stack: ExitStack) -> None:
        make_private_folder(self.log("webserver").parent)
        self._env = self._environment()
        if self.daemon:
            self._lock = stack.enter_context(lock_home(self.home))
        prepare_home(self.home, self._env)
        fail_runs(self.home, find_lost_runs(self.home))
        reset_future_ticks(self.home)
        if not self.daemon:
            self._env["DAGSTER_HOME"] = str(_home_without_queue(self.home))
        workspace = self.home / f"workspace-{self.port}.yaml"
        stack.callback(workspace.unlink, missing_ok=True)
        stack.callback(self._stop)
        self._start_code_servers(workspace, stack)
        self._start_host(workspace)
        self._start_portal()
        self._wait_for("webserver")
        if self.daemon and self.warm:
            self._start_parents_of_runs()
        if self.daemon:
            address = self.home / ADDRESS_FILE
            stack.callback(address.unlink, missing_ok=True)
            address.write_text(self.url)
            self._start_alerts()
        if self.portal_port:
            self._wait_for("portal")
        stack.callback(self._stop_watching)
        for server in self.servers.values():
            watcher = Watcher(server, self._restart, self.report, self._stopping)
            self._watchers.append(watcher)
            watcher.start()

    def _environment(self) -> dict[str, str]:
        """The environment of all processes."""
        env = {
            # Ends just before the daemon's next loop, which comes every 5 seconds.
            "TAXI_REQUEST_WATCH_SECONDS": "9.4",
            "DAGSTER_PUBLIC_URL": self.url,
            # For the start of a run by its code server: under load, more than Dagster's 60 s. As
            # long as `start_timeout_seconds` of dagster.yaml.
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "180",
            **os.environ,
            **self.environment,
            "DAGSTER_HOME": str(self.home),
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return env | without_proxy_for_loopback(env)

    def _start_code_servers(self, workspace: Path, stack: ExitStack) -> None:
        """Start a code server per location, side by side, and list them in a workspace file."""
        ports = {location.name: reserve_port(stack) for location in self.served}
        for location in self.served:
            self._start_server(
                location.name,
                *(str(location.python), "-m", "taxi_shared.code_server"),
                *("--host", HOST, f"--port={ports[location.name]}"),
                *("--module-name", location.module, "--location-name", location.name),
                *("--working-directory", str(location.folder)),
                "--use-python-environment-entry-point",
                cwd=location.folder,
                port=ports[location.name],
                is_up=partial(is_code_server_up, ports[location.name]),
            )
        servers = [
            {"grpc_server": {"host": HOST, "port": port, "location_name": name}}
            for name, port in ports.items()
        ]
        workspace.write_text(yaml.safe_dump({"load_from": servers}))
        for name in ports:
            self._wait_for(name)

    def _start_host(self, workspace: Path) -> None:
        """Start the webserver, and the daemon if there is one."""
        self._start_server(
            "webserver",
            *(sys.executable, "-m", "taxi_platform.webserver"),
            *("--host", HOST, "--port", str(self.port), "--workspace", str(workspace)),
            is_up=partial(is_web_server_up, self.port, "/server_info"),
        )
        if self._lock:
            command = (sys.executable, "-m", "taxi_platform.daemon", "run")
            # The lock ends with the last process that holds it open.
            keeps_open = [self._lock.fileno()]
            self._start_server(
                "daemon", *command, "--workspace", str(workspace), keeps_open=keeps_open
            )

    def _start_portal(self) -> None:
        if self.portal_port is None:
            return
        location = next(each for each in self.served if each.name == PORTAL_LOCATION)
        self._start_server(
            "portal",
            *(str(location.python), "-m", "adhoc_reports.portal"),
            *("--host", HOST, "--port", str(self.portal_port)),
            cwd=location.folder,
            is_up=partial(is_web_server_up, self.portal_port, "/healthz"),
        )

    def _start_parents_of_runs(self) -> None:
        """Start the processes that runs are forked from. Until they are ready, runs start cold."""
        for location in self.served:
            package = location.module.partition(".")[0]
            has_late_imports = (location.folder / "src" / package / "warm.py").exists()
            late = [f"{package}.warm"] if has_late_imports else []
            self._start_server(
                f"{location.name}-runs",
                *(str(location.python), "-m", "taxi_shared.warm_runs"),
                str(self.home / "warm" / location.name / SOCKET),
                *("taxi_shared.warm", *late, location.module),
                cwd=location.folder,
                port=self.servers[location.name].port,
            )

    def _start_alerts(self) -> None:
        if self._env.get("TAXI_ALERTS"):
            state = str(self.home / "alerts.json")
            command = (sys.executable, "-m", "taxi_platform.alerts")
            self._start_server("alerts", *command, "--url", self.url, "--state", state)

    def _start_server(self, name: str, *command: str, **options: Any) -> None:
        self.servers[name] = Server(name, command, self.log(name), **options)
        self.log(name).unlink(missing_ok=True)
        self._start_process(self.servers[name])

    def _start_process(self, server: Server) -> None:
        server.start(self._env)
        if self._lock and server.process and server.name == "daemon":
            _write_processes(self._lock, os.getpid(), server.process.pid)

    def _restart(self, server: Server) -> None:
        """Restart a server that has ended; the runs that ended with it fail, and are retried."""
        server.kill()
        lost = find_lost_runs(self.home) if server.port else []
        self._start_process(server)
        if server.port and lost:
            deadline = time.monotonic() + START_SECONDS
            while server.is_running and not has_code(server.port) and time.monotonic() < deadline:
                if self._stopping.wait(0.5):
                    return  # the next start fails them
            if not self._stopping.wait(RELOAD_SECONDS):
                with self._failing_runs:  # another server's watcher may have found the same
                    fail_runs(self.home, lost)

    def _wait_for(self, name: str) -> None:
        server = self.servers[name]
        deadline = time.monotonic() + START_SECONDS
        while server.is_up and not server.is_up():
            if not server.is_running:
                raise InstanceError(f"{name} {server.end}:\n{server.log_tail()}")
            if time.monotonic() > deadline:
                raise InstanceError(
                    f"{name} does not answer after {START_SECONDS} s:\n{server.log_tail()}"
                )
            time.sleep(0.1)

    def _stop_watching(self) -> None:
        self._stopping.set()
        for watcher in self._watchers:
            watcher.join()

    def _stop(self) -> None:
        """Stop the daemon and the webserver, then the code servers, and all they have started."""
        servers = list(self.servers.values())
        for server in reversed(servers):
            server.interrupt()
        deadline = time.monotonic() + STOP_SECONDS
        for server in servers:
            server.wait(deadline)
        for server in servers:
            server.kill()


@dataclass(frozen=True)
class RunningInstance:
    """An instance that another process has started, at the address of its webserver."""

    url: str

    @property
    def graphql(self) -> GraphQL:
        """Its API."""
        return GraphQL(self.url)

    @property
    def has_daemon(self) -> bool:
        """Whether a daemon runs on its home."""
        return True

    def check(self) -> None:
        """Raise InstanceError if it does not answer."""
        if not self.graphql.is_up():
            raise InstanceError(f"No instance answers at {self.url}. Start one with `make dev`.")


def running_at(homes: Sequence[Path]) -> str | None:
    """The address of the first running instance on these homes; None if there is none."""
    for home in homes:
        try:
            url = (home / ADDRESS_FILE).read_text()
        except OSError:
            continue
        if GraphQL(url).is_up():  # the instance may have been killed
            return url
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def reserve_port(stack: ExitStack) -> int:
    """A free port of 127.0.0.1 that nothing but a gRPC server gets until the stack ends.

    Two gRPC servers on the same port would both listen, and each answer some of the requests.
    """
    holder = stack.enter_context(socket.socket())
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC does
    holder.bind((HOST, 0))
    return int(holder.getsockname()[1])


def check_ports(port: int | None, portal_port: int | None) -> None:
    """Raise InstanceError if a port of 127.0.0.1 is in use or out of range; 0 and None pass."""
    if port and port == portal_port:
        raise InstanceError(f"the UI and the portal cannot both have port {port}: change one")
    for number, example in ((port, "PORT=3001"), (portal_port, "PORTAL_PORT=8001")):
        if number:
            _check_port(number, example)


def _check_port(port: int, example: str) -> None:
    if not 0 < port <= MAX_PORT:
        raise InstanceError(
            f"{port} is not a port; expected a number up to {MAX_PORT}, as in {example}"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InstanceError(
                f"port {port} of {HOST} is busy ({error.strerror}); choose another, as in {example}"
            ) from None


@contextmanager
def lock_home(home: Path) -> Iterator[IO[str]]:
    """Lock a home for one daemon: two would each evaluate its sensors. Raises InstanceError."""
    with open_lock(home / "daemon.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = next(filter(_is_running, map(int, lock.read().split())), None)
            raise InstanceError(
                f"an instance is already running on {home} (process {running}); stop it first, by "
                f"Ctrl-C or `kill {running}`, or set DAGSTER_HOME to another folder"
            ) from None
        _write_processes(lock, os.getpid())
        yield lock


def _write_processes(lock: IO[str], *processes: int) -> None:
    """Write the processes that hold a lock: an instance, then its daemon."""
    lock.seek(0)
    lock.truncate()
    lock.write(" ".join(map(str, processes)))
    lock.flush()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def prepare_home(home: Path, env: Mapping[str, str]) -> None:
    """Copy `dagster.yaml` into a home, and migrate its databases to this Dagster's schema.

    Processes that start side by side on an empty home would each create the databases.
    """
    with open_lock(home / "schema.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = (ROOT / "dagster.yaml").read_text()
        if (log_format := env.get("TAXI_LOG_FORMAT") or "text") != "text":
            config += yaml.safe_dump(dagster_config(log_format))
        _replace(home / "dagster.yaml", config)
        if lock.read() == version("dagster"):
            return
        migrated = subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"],
            env=dict(env),
            capture_output=True,
            text=True,
            check=False,
        )
        if migrated.returncode:
            raise InstanceError(f"`dagster instance migrate` failed on {home}:\n{migrated.stderr}")
        lock.seek(0)
        lock.truncate()
        lock.write(version("dagster"))


def _home_without_queue(home: Path) -> Path:
    """A home with the same databases and logs, whose runs do not wait for a daemon."""
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    del config["concurrency"], config["run_coordinator"], config["run_launcher"]
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
    _replace(other / "dagster.yaml", yaml.safe_dump(config))
    return other


def _replace(file: Path, text: str) -> None:
    """Write a file at once: the processes of another instance on this home may read it."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(file)
