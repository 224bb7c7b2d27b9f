"""The parent of a location's runs: `python -m taxi_shared.warm_runs SOCKET MODULE…`.

It imports the modules (the location's definitions last), and then waits at SOCKET for requests to
fork a process for a run. The process executes the run as Dagster's own command does.

A process that forks may hold nothing that a fork breaks: no threads, which do not exist in the
child, though their locks do, and no connections, which both would use. Both is checked after each
import, and named. What happens to it:

- Code on disk changes, it has started a thousand runs, or it has grown: it restarts by exec,
  which keeps the socket, waiting requests, and its children.
- Its code cannot be imported, or not safely: it says why, and waits until that changes. Meanwhile
  runs start cold.
- SIGTERM: it takes no more runs, and ends after the last of its children (a deploy). SIGINT: it
  ends at once.
- It dies: the kernel kills its children, and the platform reports their runs as lost.
- A child dies: it reports the run as failed, from another child, since it has no connections.
"""

import ctypes
import gc
import importlib
import importlib.util
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn
from uuid import uuid4

from taxi_shared.warm_runs.protocol import GO, read_line, short_path

log = logging.getLogger("warm_runs")

MAX_RUNS = 1_000
MAX_GROWTH_BYTES = 64 << 20
REQUEST_SECONDS = 5.0
POLL_SECONDS = 1.0
GO_SECONDS = 60.0
STATE = "WARM_RUNS_STATE"
# Libraries that would start threads when they are imported.
WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "_RJEM_MALLOC_CONF": "background_thread:false",  # the allocator of deltalake
}
PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


class UnsafeToFork(Exception):
    """A module started a thread or opened a file or connection when it was imported."""


@dataclass
class Parent:
    """The parent of a location's runs.

    public:   the socket that launchers know, a link to the newest parent's own
    own:      the socket of this parent alone, which runs that it has started are tagged with
    children: process → run
    """

    public: Path
    own: Path
    listener: socket.socket
    children: dict[int, str] = field(default_factory=dict)
    runs: int = 0
    is_broken: bool = False
    is_ending: bool = False

    @classmethod
    def begin(cls, public: Path) -> "Parent":
        """Listen at a socket. A parent that was there before still watches over its own runs."""
        public.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in public.parent.glob(f"{public.stem}-*{public.suffix}"):
            remove_if_dead(other)
        own = public.with_stem(f"{public.stem}-{uuid4().hex[:8]}")
        listener = socket.socket(socket.AF_UNIX)
        with short_path(own) as address:
            listener.bind(address)
        listener.listen(64)
        return cls(public, own, listener)

    @classmethod
    def resume(cls, public: Path, state: str) -> "Parent":
        """Go on after exec."""
        own, listener, children = json.loads(state)
        runs = {int(process): run for process, run in children.items()}
        return cls(public, Path(own), socket.socket(fileno=listener), runs)

    def publish(self) -> None:
        """Let launchers find this parent."""
        link = self.public.with_name(f".{self.own.name}.link")
        link.symlink_to(self.own.name)
        link.replace(self.public)

    def serve(self, is_stale: Callable[[], str | None]) -> str | None:
        """Answer requests; returns why this parent must restart, None once it has ended."""
        wakeup, signal_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        previous = signal.set_wakeup_fd(signal_fd, warn_on_full_buffer=False)
        handlers = {each: signal.signal(each, self._note) for each in SIGNALS}
        try:
            while self._reap() or not self.is_ending:
                seconds = POLL_SECONDS if self.is_broken else None
                ready, _, _ = select.select([self.listener.fileno(), wakeup], [], [], seconds)
                if wakeup in ready:
                    os.read(wakeup, 1024)
                is_asked = self.listener.fileno() in ready
                if (is_asked or self.is_broken) and not self.is_ending and (reason := is_stale()):
                    return reason
                if is_asked:
                    self._answer()
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
            signal.set_wakeup_fd(previous)
            os.close(wakeup)
            os.close(signal_fd)
        self.own.unlink(missing_ok=True)
        return None

    def hide(self) -> None:
        """Let launchers no longer find this parent."""
        with suppress(FileNotFoundError):
            if self.public.readlink() == Path(self.own.name):
                self.public.unlink()

    def restart(self, reason: str) -> NoReturn:
        """Replace this process by one with the code of now, which goes on with this one's work."""
        log.info("The parent restarts: %s", reason)
        os.set_inheritable(self.listener.fileno(), True)
        os.environ[STATE] = json.dumps([str(self.own), self.listener.fileno(), self.children])
        command = [sys.executable, "-m", "taxi_shared.warm_runs", *sys.argv[1:]]
        os.execv(command[0], command)  # noqa: S606 - this program again

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.own.unlink(missing_ok=True)
            os._exit(130)  # the kernel kills the children
        if number == signal.SIGTERM:
            self.is_ending = True
            self.hide()

    def _answer(self) -> None:
        """Answer one request. A client that sends nonsense, or nothing, keeps no one else out."""
        connection, _ = self.listener.accept()
        connection.settimeout(REQUEST_SECONDS)
        with connection:
            try:
                self._do(connection, json.loads(read_line(connection)))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("A request failed: %r", error)

    def _do(self, connection: socket.socket, message: dict[str, Any]) -> None:
        run_id = message["run_id"]
        process = next((each for each, run in self.children.items() if run == run_id), None)
        match message["do"]:
            case "start" if process is None and not (self.is_ending or self.is_broken):
                command = [str(each) for each in message["command"]]
                process = self._fork(lambda: self._run_after_go(connection, command))
                self.children[process] = run_id
                self.runs += 1
                return  # the child answers
            case "start":
                raise ValueError(f"no process for run {run_id}: it has one, or there are none")
            case "stop" if process is not None:
                os.kill(process, signal.SIGINT)
            case "stop" | "check":
                pass
            case other:
                raise ValueError(f"{other!r} is not start, stop or check")
        self._send(connection, process is not None)

    def _send(self, connection: socket.socket, is_running: bool) -> None:
        answer = {"parent": str(self.own), "is_running": is_running}
        connection.sendall(json.dumps(answer).encode() + b"\n")

    def _run_after_go(self, connection: socket.socket, command: Sequence[str]) -> None:
        """Execute a run, in its own process, once the launcher has said so."""
        connection.settimeout(GO_SECONDS)
        try:
            self._send(connection, is_running=True)
            answer = read_line(connection)
        except ConnectionError:  # the launcher gave up while this parent hung: its run starts cold
            return
        if answer != GO:
            return
        connection.close()
        sys.argv = ["dagster", *command]
        runpy.run_module("dagster", run_name="__main__", alter_sys=True)

    def _fork(self, work: Callable[[], None]) -> int:
        """Do something in a child; returns its process id."""
        parent = os.getpid()
        if child := os.fork():
            return child
        status = 1
        try:
            end_with(parent)
            signal.set_wakeup_fd(-1)
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.listener.close()
            work()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            # Not sys.exit: what the parent has begun is the parent's to end.
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> bool:
        """Collect children that have ended, and report the runs that died; whether any are left."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not process:
                return True
            run_id = self.children.pop(process, None)
            if run_id and status:
                self._fork(partial(report_end, run_id, os.waitstatus_to_exitcode(status)))


@dataclass(frozen=True)
class Beginning:
    """What a parent was when it began: the code on disk, and its size in bytes."""

    code: Mapping[str, tuple[int, int]]
    size: int

    def restart_reason(self, runs: int, modules: Sequence[str]) -> str | None:
        """Why the parent must restart after so many runs; None while it need not."""
        if code_on_disk(modules) != self.code:
            return "the code has changed"
        if runs >= MAX_RUNS:
            return f"it has started {runs:,} runs"
        if (growth := resident_bytes() - self.size) > MAX_GROWTH_BYTES:
            return f"it has grown by {growth >> 20} MB"
        return None


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM, or restart."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    public, *modules = arguments
    if not modules:
        sys.exit("usage: python -m taxi_shared.warm_runs SOCKET MODULE…")
    os.environ.update(WITHOUT_THREADS)
    state = os.environ.pop(STATE, None)
    parent = Parent.resume(Path(public), state) if state else Parent.begin(Path(public))
    begin = time.monotonic()
    try:
        import_safely(modules)
    except Exception:
        traceback.print_exc()
        parent.is_broken = True
    # The collector writes to all that it looks at, which would no longer be shared with children.
    gc.collect()
    gc.freeze()
    beginning = Beginning(code_on_disk(modules), resident_bytes())
    if parent.is_broken:
        log.error("Runs start cold until the code has changed.")
        parent.hide()
    else:
        log.info("Runs start warm, after %.1f s of imports.", time.monotonic() - begin)
        parent.publish()
    if reason := parent.serve(lambda: beginning.restart_reason(parent.runs, modules)):
        parent.restart(reason)
    os._exit(0)  # a module may have started threads that do not end


def import_safely(modules: Sequence[str]) -> None:
    """Import modules, and what an instance of Dagster needs. Raises UnsafeToFork."""
    allowed = open_files()
    for module in modules:
        _resolve(importlib.import_module(module))
        check_safety(module, allowed)
    # The storage, logs and command of DAGSTER_HOME's instance: imported once a run needs them.
    for module in in_child(_modules_of_runs):
        with suppress(ImportError):  # such as a module that only exists under another's name
            importlib.import_module(module)
    check_safety("the storage of Dagster's instance", allowed)


def _resolve(module: ModuleType) -> None:
    """Build the jobs of a module's definitions, which Dagster keeps: runs need not build them."""
    import dagster as dg

    for value in vars(module).values():
        if isinstance(value, dg.Definitions):
            dg.Definitions.validate_loadable(value)


def _modules_of_runs() -> list[str]:
    """Modules that a run imports, besides those that are imported already."""
    before = set(sys.modules)
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
        str(instance.compute_log_manager)
    importlib.import_module("dagster._cli.api")
    return [name for name in list(sys.modules) if name not in before and name != "__main__"]


def in_child(function: Callable[[], list[str]]) -> list[str]:
    """What a function returns in a child, which may start threads; nothing if it fails."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writer, json.dumps(function()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else []


def check_safety(module: str, allowed: set[str]) -> None:
    """Raise UnsafeToFork if importing a module left threads, files or connections."""
    main_thread = str(os.getpid())
    threads = [
        (each / "comm").read_text().strip()
        for each in Path("/proc/self/task").iterdir()
        if each.name != main_thread
    ]
    if threads:
        raise UnsafeToFork(
            f"Importing {module} started {len(threads)} threads "
            f"({', '.join(sorted(set(threads)))}). Start them in a function that a run calls."
        )
    if opened := open_files() - allowed:
        raise UnsafeToFork(
            f"Importing {module} opened {', '.join(sorted(opened))} and left it open. "
            "Open it in a function that a run calls."
        )


def open_files() -> set[str]:
    """The files and sockets that this process has open."""
    return set(_open_files())


def _open_files() -> Iterator[str]:
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder that is listed
            yield str(each.readlink())


def code_on_disk(modules: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Time and size of the files of each package that is not installed: those that people edit.

    Of those that are imported, and of `modules`, which may have failed to be.
    """
    paths = sysconfig.get_paths()
    installed = tuple(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    files = {}
    for package in {name.partition(".")[0] for name in (*sys.modules, *modules)}:
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # such as __main__
            continue
        source = spec.origin if spec and spec.has_location else None
        if source and not source.startswith(installed):
            path = Path(source)
            inside = path.parent.rglob("*") if path.name == "__init__.py" else [path]
            for file in inside:
                if file.suffix != ".pyc" and file.is_file():
                    status = file.stat()
                    files[str(file)] = (status.st_mtime_ns, status.st_size)
    return files


def resident_bytes() -> int:
    """The memory of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)


def remove_if_dead(path: Path) -> None:
    """Remove the socket of a parent that was killed."""
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as address:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s", path, error)


def report_end(run_id: str, code: int) -> None:
    """Report a run whose process has died as failed, or as cancelled, if it has not ended."""
    import dagster as dg

    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run and run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, f"The run's process {end}.")
        elif run and not run.is_finished:
            instance.report_run_failed(run, f"The run's process {end}.")
