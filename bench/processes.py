"""Start and stop processes, and measure the memory of a tree of them."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from taxi_platform.workspace import ROOT

SAMPLE_SECONDS = 0.2
STOP_SECONDS = 20
# Environment variables of the machine or of the calling make that would change the measurements.
SETTINGS = ("TAXI_", "TLC_", "DUCKDB_", "DAGSTER_", "AWS_", "MAKE", "MFLAGS", "PORT", "PYTHONDONT")


def remove_settings() -> None:
    """Remove variables from the environment that would change the measurements."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    output: IO[bytes] | Literal["stdout", "stderr"] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in its own process group, so that it can be stopped with its children.

    Args:
        command: program and arguments
        env: variables in addition to those of this process
        cwd: its working directory
        output: a file for all output, or the stream to pipe; by default stdout is discarded and
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
def stopping(process: subprocess.Popen[bytes], by: int = signal.SIGTERM) -> Iterator[None]:
    """Send a process a signal when the block ends, and kill what is left of its tree."""
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
    """The ids of a process and of all its descendants; empty if it has ended.

    It reads `children` of each thread, which takes 0.05 ms: reading every process of the machine
    would take as much of a core as some of the measured processes.
    """
    found, todo = [], [root] if Path(f"/proc/{root}").exists() else []
    while todo:
        found.append(pid := todo.pop())
        with suppress(OSError):  # the process has just ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                children = (thread / "children").read_text()
                todo += map(int, children.split())
    return found


def proportional_mb(pid: int) -> float:
    """The memory of a process in MB, with its part of what it shares with others (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1.024e-3
    raise LookupError(f"process {pid} has no PSS")


@dataclass
class Memory:
    """Peaks in MB (10^6 bytes): of the largest process, and of the sum of all processes."""

    largest: float = 0.0
    total: float = 0.0


@contextmanager
def peak_memory(root: int, *, only_new: bool) -> Iterator[Memory]:
    """Measure the memory of a process and its descendants while the block runs.

    With `only_new`, only processes that start later count: below a code server these are runs.
    """
    peak, stop = Memory(), threading.Event()
    old = set(process_tree(root)) if only_new else set()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            sizes = [_memory_of(pid) for pid in process_tree(root) if pid not in old]
            peak.largest = max([peak.largest, *(highest for highest, _ in sizes)])
            peak.total = max(peak.total, sum(now for _, now in sizes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _memory_of(pid: int) -> tuple[float, float]:
    """The peak and the current resident size of a process, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kilobytes = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in lines)
            if name in ("VmHWM", "VmRSS")
        }
        return kilobytes["VmHWM"] * 1.024e-3, kilobytes["VmRSS"] * 1.024e-3
    except (OSError, KeyError):  # the process has just ended
        return 0.0, 0.0
