"""Servers end with the process that started them, and are started again when they end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import grpc
import pytest

from taxi_platform import watcher
from taxi_platform.instance import HOST, reserve_port
from taxi_platform.servers import Server
from taxi_platform.watcher import Watcher
from tests.waiting import wait_for

SLEEP = ("sh", "-c", "sleep 300 & wait")
# Starts a server whose child writes its ID, and then waits.
PARENT = """
import os, sys, time
from pathlib import Path
from taxi_platform.servers import Server

command = ("sh", "-c", f"sleep 300 & echo $! >{sys.argv[1]}/child; wait")
Server("a server", command, Path(sys.argv[1], "log")).start(os.environ)
time.sleep(300)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server("a server", SLEEP, tmp_path / "log")
    server.start(os.environ)
    yield server
    server.kill()


@pytest.fixture
def stopping() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def is_running(process: int) -> bool:
    """Whether a process runs: its parent may have been killed before it could wait for it."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


def test_children_of_a_server_end_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    child = tmp_path / "child"
    wait_for(lambda: child.exists() and child.read_text(), "the child")
    process = int(child.read_text())
    assert is_running(process)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not is_running(process), "the end of the child", 5)


def test_killed_server_is_restarted_and_reported(server: Server, stopping: Event) -> None:
    killed, reported = server.process, list[str]()
    assert killed
    thread = Watcher(server, lambda each: each.start(os.environ), reported.append, stopping)
    thread.start()
    killed.kill()
    wait_for(lambda: server.process is not killed and server.is_running, "the restart", 10)
    assert reported == [f"a server was killed by SIGKILL; it restarts in 1 s ({server.log})"]
    stopping.set()
    thread.join(5)
    assert not thread.is_alive()


def test_server_that_no_longer_answers_is_restarted(
    server: Server, monkeypatch: pytest.MonkeyPatch, stopping: Event
) -> None:
    answers = iter([True, True])
    for name, seconds in (("INTERVAL_SECONDS", 0.01), ("LOOK_SECONDS", 0.01), ("DELAYS", (0,))):
        monkeypatch.setattr(watcher, name, seconds)
    monkeypatch.setattr(watcher, "HUNG_SECONDS", 0.5)
    server.is_up = lambda: next(answers, False)
    hung = server.process
    reported: list[str] = []
    Watcher(server, lambda each: each.start(os.environ), reported.append, stopping).start()
    wait_for(lambda: server.process is not hung and server.is_running, "the restart", 20)
    assert reported == [
        "a server has not answered for 0.5 s",
        f"a server was killed by SIGKILL; it restarts in 0 s ({server.log})",
    ]
    time.sleep(1)  # while it starts, it does not answer yet, and may take its time
    assert len(reported) == 2


@pytest.mark.parametrize("port", [None, 4000])
def test_only_code_servers_restart_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: Event, port: int | None
) -> None:
    monkeypatch.setattr(watcher, "DELAYS", (0, 0))
    monkeypatch.setattr(watcher, "INTERVAL_SECONDS", 0.01)
    server = Server("a server", ("sh", "-c", "echo no memory; exit 3"), tmp_path / "log", port=port)
    reported: list[str] = []

    def restart(each: Server) -> None:
        each.start(os.environ)
        each.wait(time.monotonic() + 10)

    restart(server)
    thread = Watcher(server, restart, reported.append, stopping)
    thread.start()
    if port:
        wait_for(lambda: len(reported) > 4, "more restarts than delays")
        assert thread.failure is None
    else:
        thread.join(30)
        reason = "a server ended with status 3, 2 restarts did not help"
        assert thread.failure == "\n".join([f"{reason}:", *["no memory"] * 3])
    stopping.set()
    thread.join(5)
    server.kill()


def test_reserved_port_is_free_for_a_grpc_server_alone() -> None:
    with ExitStack() as stack:
        port = reserve_port(stack)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        server = grpc.server(ThreadPoolExecutor(1))
        assert server.add_insecure_port(f"{HOST}:{port}") == port
        server.start()
        with socket.create_connection((HOST, port)):
            server.stop(grace=None)
