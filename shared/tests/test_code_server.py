"""A code server ends when its process with the definitions has died."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taxi_shared.health import has_code, is_code_server_up

SECONDS = 60


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        found: int = probe.getsockname()[1]
        return found


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "some_definitions.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    command = [
        *(sys.executable, "-m", "taxi_shared.code_server", "--host=127.0.0.1", f"--port={port}"),
        *("--module-name=some_definitions", f"--working-directory={tmp_path}"),
    ]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    yield server
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def process_with_definitions(server: int) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        if int(parent) == server and b"grpc" in (process / "cmdline").read_bytes():
            return int(process.name)
    raise AssertionError("the code server has no process with definitions")


def test_code_server_ends_without_its_definitions(
    server: subprocess.Popen[bytes], port: int
) -> None:
    deadline = time.monotonic() + SECONDS
    while not has_code(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(3)  # so that it has seen its own answer as well
    os.kill(process_with_definitions(server.pid), signal.SIGKILL)
    while has_code(port):
        time.sleep(0.1)
    assert is_code_server_up(port)  # as far as Dagster's own health check can see
    assert server.wait(SECONDS) == 1


def test_code_server_needs_its_port() -> None:
    command = [sys.executable, "-m", "taxi_shared.code_server", "--port", "4000"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Name the port once, as in --port=4000." in ended.stderr
