"""Processes: how they are started and ended, and the memory that a tree of them takes."""

import os
import signal
import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from taxi_platform.workspace import ROOT

SAMPLE_SECONDS = 0.2
STOP_SECONDS = 20
# Python without the platform's own start of every process.
STOCK_PYTHON = {"PYTHONPATH": str(Path(__file__).with_name("stock"))}
# Settings of the machine or of the calling make that would change what is measured.
FOREIGN = ("TAXI_", "TLC_", "DUCKDB_", "DAGSTER_", "AWS_", "MAKE", "MFLAGS", "PORT", "PYTHONDONT")


def forget_foreign_settings() -> None:
    """Take from this process's environment what would change the measured ones."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    output: IO[bytes] | Literal["stdout", "stderr"] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in its own process group, so that all of it can be ended.

    Args:
        command: program and arguments
        env: variables in addition to those of this process
        cwd: its working directory
        output: a file for all output, or the stream that becomes a pipe; else stdout is dropped and
            stderr shown
    """
    file = output if output and not isinstance(output, str) else None
    return subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdout=file or (subprocess.PIPE if output == "stdout" else subprocess.DEVNULL),
        stderr=file or (subprocess.PIPE if output == "stderr" else None),
        start_new_session=True,
    )


@contextmanager
def ended(process: subprocess.Popen[bytes], by: int = signal.SIGTERM) -> Iterator[None]:
    """End a process by a signal when the block is left, and kill what is left of its tree."""
    try:
        yield
    finally:
        tree = process_tree(process.pid)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, by)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def process_tree(root: int) -> list[int]:
    """The ids of a process and of all its descendants; none where it has ended.

    It asks the kernel for children, a twentieth of a millisecond a thread: a look at every process
    of the machine would take as much of a core as some of what is measured.
    """
    found, todo = [], [root] if Path(f"/proc/{root}").exists() else []
    while todo:
        found.append(pid := todo.pop())
        with suppress(OSError):  # it has just ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                children = (thread / "children").read_text()
                todo += map(int, children.split())
    return found


def descendant(*arguments: str, but: Collection[int] = ()) -> int:
    """The first process below this one whose command line has these arguments in a row."""
    wanted = "\0".join(arguments)
    for pid in sorted(set(process_tree(os.getpid())) - set(but)):
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    raise LookupError(f"no process was started with {' '.join(arguments)}")


@dataclass
class Memory:
    """Peaks in MB (10^6 bytes): of the largest single process, and of all together."""

    largest: float = 0.0
    together: float = 0.0


@contextmanager
def peak_memory(root: int, *, only_new: bool) -> Iterator[Memory]:
    """Watch the memory below a process while the block runs.

    With `only_new`, processes that are there at the start do not count: below a code server, what
    comes after is a run.
    """
    peak, stop = Memory(), threading.Event()
    old = set(process_tree(root)) if only_new else set()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            sizes = [_sizes(pid) for pid in process_tree(root) if pid not in old]
            peak.largest = max([peak.largest, *(highest for highest, _ in sizes)])
            peak.together = max(peak.together, sum(now for _, now in sizes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _sizes(pid: int) -> tuple[float, float]:
    """The highest resident size so far and the present one, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kilobytes = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in lines)
            if name in ("VmHWM", "VmRSS")
        }
        return kilobytes["VmHWM"] * 1.024e-3, kilobytes["VmRSS"] * 1.024e-3
    except (OSError, KeyError):  # it has just ended
        return 0.0, 0.0
