"""Servers of a running instance are killed, suspended, or get no time on the processors."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path

import pytest

from taxi_platform.instance import Instance, free_port
from taxi_platform.sample import write_sample
from taxi_shared.health import has_code, is_web_server_up
from tests.faults.site import COLD, MONTHS, NO_TAGS, ROWS, Site, launch_load, load, processes_with
from tests.faults.sound import assert_reports, assert_sound
from tests.waiting import SECONDS, wait_for

pytestmark = pytest.mark.slow

REQUEST = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-02-25"}
SUSPENDED_SECONDS = 60
BUSY_SECONDS = 40
BUSY_PROCESSES = 8
BUSY_REQUESTS = 63
OUTCOME_SECONDS = 420


@dataclass
class Running:
    """An instance that has loaded its months, what it reported, and the requests made so far."""

    site: Site
    instance: Instance
    reported: list[str]
    requests: list[str] = field(default_factory=list)
    rows: Iterator[int] = field(default_factory=lambda: count(ROWS + 1))

    def request(self, *names: str) -> None:
        """Request reports, as an analyst would."""
        for name in names:
            (self.site.data / "requests" / f"{name}.json").write_text(json.dumps(REQUEST))
        self.requests += names

    def assert_serves(self, *names: str) -> None:
        """Check that requests get their charts, and that loads succeed and are sound."""
        self.request(*names)
        charts = [self.site.data / "outputs" / f"{name}.png" for name in self.requests]
        wait_for(lambda: all(map(Path.exists, charts)), "the charts", OUTCOME_SECONDS)
        assert_sound(self.site, self.instance)
        assert_reports(self.site, self.requests)

    def process(self, name: str) -> int:
        process = self.instance.servers[name].process
        return process.pid if process else 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    site = Site.make(tmp_path_factory.mktemp("site"))
    reported: list[str] = []
    with Instance(
        site.home,
        portal_port=free_port(),
        environment=site.environment,
        report=reported.append,
    ) as instance:
        load(instance)
        yield Running(site, instance, reported)


def children_of(parent: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(after_name[1]) == parent:
            found.append(int(process.name))
    return found


def launch_stopped(running: Running, month: str, tags: Mapping[str, str] = NO_TAGS) -> str:
    """Launch a load of a month that is published again; it stops where its file arrives."""
    write_sample(running.site.source, [date.fromisoformat(month)], next(running.rows))
    point = rf"raw/\.taxi_trips_{month[:7]}\.parquet"
    running.site.arm("os.rename", point, with_signal=signal.SIGSTOP)
    run_id = launch_load(running.instance, [month], tags)
    running.site.wait_until_hit()
    return run_id


def assert_retried(running: Running, lost: str, ran_under: str) -> None:
    """Check that a lost run has failed and that its retry has succeeded."""
    graphql = running.instance.graphql

    def is_retried() -> bool:
        retry = graphql.run_tags(lost).get("dagster/auto_retry_run_id")
        return retry is not None and graphql.run_status(retry) == "SUCCESS"

    wait_for(is_retried, lambda: f"the retry: {graphql.run_failure(lost)}")
    assert f"{ran_under} that it ran under is gone" in graphql.run_failure(lost)


@pytest.mark.fault(
    "kill -9 of the process that has a location's definitions, while a run loads",
    "the code server restarts within seconds; its runs fail and are retried",
    "nothing",
)
def test_inner_code_server_restarts(running: Running) -> None:
    lost = launch_stopped(running, MONTHS[0], COLD)
    (inner,) = processes_with(str(running.site.base), "\0api\0grpc\0", "ingestion.definitions")
    assert inner in children_of(running.process("ingestion"))
    os.kill(inner, signal.SIGKILL)
    assert_retried(running, lost, "code server")
    running.assert_serves("after_inner_code_server")


@pytest.mark.fault(
    "kill -9 of a code server while a run loads",
    "it restarts within seconds; its runs fail and are retried",
    "nothing",
)
def test_code_server_restarts(running: Running) -> None:
    lost = launch_stopped(running, MONTHS[1], COLD)
    os.kill(running.process("ingestion"), signal.SIGKILL)
    assert_retried(running, lost, "code server")
    assert any("ingestion was killed by SIGKILL; it restarts" in x for x in running.reported)
    running.assert_serves("after_code_server")


@pytest.mark.parametrize(
    "has_definitions",
    [
        pytest.param(
            True,
            marks=pytest.mark.fault(
                "the process that has a location's definitions hangs",
                "its code server ends after three minutes and restarts; then requests are answered",
                "nothing",
            ),
        ),
        pytest.param(
            False,
            marks=pytest.mark.fault(
                "a code server hangs",
                "it is killed after three minutes and restarts; then requests are answered",
                "nothing",
            ),
        ),
    ],
)
def test_code_server_that_hangs_restarts(running: Running, has_definitions: bool) -> None:
    server = running.instance.servers["adhoc_reports"]
    wait_for(lambda: has_code(server.port or 0), "the code server")
    time.sleep(2)  # the watcher looks each second until it answers
    hung = running.process("adhoc_reports")
    (inner,) = processes_with(str(running.site.base), "\0api\0grpc\0", "adhoc_reports.definitions")
    os.kill(inner if has_definitions else hung, signal.SIGSTOP)
    running.assert_serves(f"while_{'inner' if has_definitions else 'outer'}_server_hangs")
    assert running.process("adhoc_reports") != hung
    assert not Path(f"/proc/{inner}").exists()


@pytest.mark.fault(
    "kill -9 of the warm parent of a location while a run loads",
    "it restarts within seconds; its runs end with it, fail, and are retried",
    "nothing",
)
def test_warm_parent_restarts(running: Running) -> None:
    lost = launch_stopped(running, MONTHS[1])
    process = int(running.site.hit.read_text())
    assert process in children_of(running.process("ingestion-runs"))
    os.kill(running.process("ingestion-runs"), signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{process}").exists(), "the end of the run's process")
    assert_retried(running, lost, "warm parent")
    running.assert_serves("after_warm_parent")


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        pytest.param(
            signal.SIGKILL,
            SECONDS,
            marks=pytest.mark.fault(
                "a queued run is due while its code server is dead",
                "it waits in the queue until the server has restarted",
                "nothing",
            ),
        ),
        pytest.param(
            signal.SIGSTOP,
            OUTCOME_SECONDS,
            marks=pytest.mark.fault(
                "a queued run is due while its code server hangs",
                "it starts once the server has been killed, after three minutes, and has restarted",
                "nothing",
            ),
        ),
    ],
)
def test_run_waits_for_its_code_server(
    running: Running, number: signal.Signals, seconds: float
) -> None:
    graphql, daemon = running.instance.graphql, running.process("daemon")
    os.kill(daemon, signal.SIGSTOP)  # the run stays in the queue until its server does not answer
    run_id = launch_load(running.instance, more=COLD)
    os.kill(running.process("ingestion"), number)
    os.kill(daemon, signal.SIGCONT)
    wait_for(
        lambda: graphql.run_status(run_id) == "SUCCESS",
        lambda: graphql.run_failure(run_id),
        seconds,
    )
    running.assert_serves()


@pytest.mark.fault(
    "the warm parent of a location hangs",
    "runs start cold, each after half a minute",
    "end its process: it restarts",
)
def test_run_of_a_warm_parent_that_hangs_starts_cold(running: Running) -> None:
    parent = running.process("adhoc_reports-runs")
    os.kill(parent, signal.SIGSTOP)
    try:
        running.assert_serves("while_warm_parent_hangs")
    finally:
        os.kill(parent, signal.SIGCONT)
    # What the launcher gave up waiting for starts no second run.
    running.assert_serves("after_warm_parent_hung")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.fault(f"kill -9 of the {name}", "it restarts in a second", "nothing"),
        )
        for name in ("webserver", "daemon", "portal")
    ],
)
def test_server_of_the_host_restarts(running: Running, name: str) -> None:
    instance = running.instance
    killed = running.process(name)
    os.kill(killed, signal.SIGKILL)
    running.request(f"after_{name}")
    wait_for(lambda: running.process(name) != killed, "the restart")
    wait_for(instance.graphql.is_up, "the webserver")
    portal = instance.portal_port or 0
    wait_for(lambda: is_web_server_up(portal, "/healthz"), "the portal")
    running.assert_serves()


@pytest.mark.fault(
    "kill -9 of all servers at once while a run loads",
    "they restart within seconds; the run fails and is retried",
    "nothing",
)
def test_all_servers_restart(running: Running) -> None:
    lost = launch_stopped(running, MONTHS[2])
    for server in running.instance.servers.values():
        if server.process:
            os.kill(server.process.pid, signal.SIGKILL)
    wait_for(running.instance.graphql.is_up, "the webserver")
    assert_retried(running, lost, "warm parent")
    running.assert_serves("after_all_servers")


@pytest.mark.fault(
    f"all processes are suspended for {SUSPENDED_SECONDS} s, as by a closed laptop",
    "all go on",
    "nothing",
)
def test_suspended_instance_goes_on(running: Running) -> None:
    processes = processes_with(str(running.site.base))
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    time.sleep(SUSPENDED_SECONDS)
    for process in processes:
        os.kill(process, signal.SIGCONT)
    # Longer than code servers, by Dagster's default, wait for a sign of life before they end.
    running.assert_serves("after_suspension")
    ports = {server.port for server in running.instance.servers.values() if server.port}
    assert len(ports) == 3
    assert all(map(has_code, ports))


@pytest.mark.fault(
    f"{BUSY_PROCESSES} busy processes on the machine for {BUSY_SECONDS} s, during a load and "
    f"{BUSY_REQUESTS} requests",
    "all succeed, later",
    "nothing",
)
def test_overload_delays_loads_and_requests(running: Running) -> None:
    busy = f"import time\nend = time.time() + {BUSY_SECONDS}\nwhile time.time() < end: pass"
    loops = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(BUSY_PROCESSES)]
    try:
        write_sample(running.site.source, [date.fromisoformat(MONTHS[0])], next(running.rows))
        load_id = launch_load(running.instance)
        running.request(*(f"in_overload_{number}" for number in range(BUSY_REQUESTS)))
        for loop in loops:
            loop.wait()
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    graphql = running.instance.graphql
    wait_for(lambda: graphql.run_status(load_id) == "SUCCESS", "the load", OUTCOME_SECONDS)
    running.assert_serves()
