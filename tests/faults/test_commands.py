"""The commands behind `make dev` and `make pipeline` are ended, killed, or started twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from taxi_platform.graphql import GraphQL
from taxi_platform.instance import Instance, RunningInstance, free_port
from taxi_platform.workspace import ROOT, locations
from tests.faults.site import MONTHS, Site, processes_with
from tests.faults.sound import assert_equal_source, assert_nothing_runs, assert_sound
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

MONTH = "2023-02-01"
LEFT_SECONDS = 15
START_SECONDS = 180
PIPELINE_SECONDS = 300
ENDS = [
    pytest.param(
        signals,
        id=name,
        marks=pytest.mark.fault(
            f"{fault} while a run loads",
            "all servers and runs end; the next start retries the run",
            "starts it again",
        ),
    )
    for name, fault, signals in (
        ("SIGTERM", "kill of `make dev`", [signal.SIGTERM]),
        ("SIGHUP", "the terminal of `make dev` is closed", [signal.SIGHUP]),
        ("Ctrl-C twice", "Ctrl-C twice in `make dev`", [signal.SIGINT, signal.SIGINT]),
        ("SIGKILL", "kill -9 of `make dev`", [signal.SIGKILL]),
    )
]


class Command:
    """A command of the platform that runs on a site, as `make` starts it."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.output = site.base / f"{arguments[0]}-{free_port()}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "taxi_platform", *arguments],
                cwd=ROOT,
                env={**os.environ, **site.environment, "DAGSTER_HOME": str(site.home)},
                stdout=output,
                stderr=output,
                start_new_session=True,  # as a terminal
            )

    def text(self) -> str:
        return self.output.read_text()


Start = Callable[..., Command]


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Starts commands, and kills what a failed test leaves of them."""
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        started.append(Command(site, *arguments))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.wait()
    for process in processes_with(str(site.base)):
        os.kill(process, signal.SIGKILL)


def start_dev(start: Start) -> tuple[Command, GraphQL]:
    """Start `make dev`, and wait until it is up."""
    port = free_port()
    command = start("dev", "--port", str(port), "--portal-port", str(free_port()))
    wait_for(
        lambda: "until Ctrl-C" in command.text() or command.process.poll() is not None,
        command.text,
        START_SECONDS,
    )
    assert command.process.poll() is None, command.text()
    return command, GraphQL(f"http://127.0.0.1:{port}")


def start_pipeline(start: Start) -> Command:
    return start("pipeline", "--from", "2023-01", "--to", "2023-03")


def wait_until_nothing_runs(site: Site) -> None:
    wait_for(lambda: not processes_with(str(site.base)), "the end of all", LEFT_SECONDS)
    assert_nothing_runs(site)


@pytest.mark.parametrize("signals", ENDS)
def test_nothing_outlives_dev(site: Site, start: Start, signals: list[int]) -> None:
    command, graphql = start_dev(start)
    lost = launch_stopped(site, graphql)
    for each in signals:
        command.process.send_signal(each)
        time.sleep(0.3)
    command.process.wait(60)
    wait_until_nothing_runs(site)
    assert command.process.returncode == (-9 if signals == [signal.SIGKILL] else 130)
    assert_next_start_retries(site, lost)


@pytest.mark.fault(
    "kill -9 of all processes at once while a run loads, as by a power cut",
    "the next start retries the run",
    "starts it again",
)
def test_next_start_retries_the_run_of_killed_processes(site: Site, start: Start) -> None:
    _, graphql = start_dev(start)
    lost = launch_stopped(site, graphql)
    for process in processes_with(str(site.base)):
        os.kill(process, signal.SIGKILL)
    wait_until_nothing_runs(site)
    assert_next_start_retries(site, lost)


def launch_stopped(site: Site, graphql: GraphQL) -> str:
    """Launch a run that stops where its file arrives, as it would for a slow source."""
    site.arm("os.rename", r"raw/\.taxi_trips_2023-02\.parquet", with_signal=signal.SIGSTOP)
    run_id = graphql.launch("ingestion", "trip_update_job", tags={"dagster/partition": MONTH})
    site.wait_until_hit()
    return run_id


def assert_next_start_retries(site: Site, lost: str) -> None:
    """Check that the next start reports a lost run, and that its retry loads the month."""
    served = locations()[:1]
    with Instance(site.home, environment=site.environment, served=served) as instance:
        graphql = instance.graphql
        assert graphql.run_status(lost) == "FAILURE"

        def has_loaded() -> bool:
            return "SUCCESS" in graphql.runs_of("ingestion", "trip_update_job").values()

        wait_for(has_loaded, "the success of the retry")
        assert_sound(site, instance, [MONTH])


@pytest.mark.fault(
    "`make dev` a second time on one DAGSTER_HOME",
    "it is refused, and names the process to stop",
    "stops the first one",
)
def test_second_dev_on_one_home_is_refused(site: Site, start: Start) -> None:
    command, graphql = start_dev(start)
    assert_refused(start, command.process.pid)
    assert graphql.is_up()

    # The daemon alone is left: it holds the lock itself.
    guards = set(processes_with("trap '' INT TERM HUP")) & set(processes_with(str(site.base)))
    (daemon,) = processes_with("taxi_platform.daemon\0run\0--workspace\0" + str(site.home))
    for process in (*guards, command.process.pid):
        os.kill(process, signal.SIGKILL)
    command.process.wait()
    assert_refused(start, daemon)
    os.kill(daemon, signal.SIGTERM)


def assert_refused(start: Start, running: int) -> None:
    ports = ("--port", str(free_port()), "--portal-port", str(free_port()))
    command = start("dev", *ports)
    assert command.process.wait(60) == 1
    assert "an instance is already running on" in command.text()
    assert f"`kill {running}`" in command.text()


@pytest.mark.fault(
    "kill -9 of a run of `make pipeline`",
    "it says so, and retries the run once",
    "nothing",
)
def test_pipeline_retries_a_killed_run(site: Site, start: Start) -> None:
    site.arm("os.rename", r"raw/\.taxi_trips_2023-02\.parquet")
    command = start_pipeline(start)
    site.wait_until_hit(START_SECONDS)
    assert_succeeds(command)
    assert "trips and zones failed and is retried: " in command.text()
    assert "was terminated by signal 9 (SIGKILL)" in command.text()
    assert_loaded(site)


@pytest.mark.fault(
    "kill -9 of the code server under a run of `make pipeline`",
    "it says so, restarts the server, and retries the run once",
    "nothing",
)
def test_pipeline_retries_a_run_without_server(site: Site, start: Start) -> None:
    site.arm("os.rename", r"raw/\.taxi_trips_2023-02\.parquet", with_signal=signal.SIGSTOP)
    command = start_pipeline(start)
    site.wait_until_hit(START_SECONDS)
    named = "--location-name\0ingestion\0"
    (server,) = processes_with("taxi_shared.code_server\0", named, str(site.base))
    os.kill(server, signal.SIGKILL)
    assert_succeeds(command)
    assert "ingestion was killed by SIGKILL; it restarts in 1 s" in command.text()
    assert_loaded(site)


@pytest.mark.fault(
    "two `make pipeline` at once on one DAGSTER_HOME",
    "both succeed; each month is loaded once",
    "nothing",
)
def test_two_pipelines_at_once_succeed(site: Site, start: Start) -> None:
    for command in [start_pipeline(start), start_pipeline(start)]:
        assert_succeeds(command)
    written = (site.data / "staging" / "trips").glob("partition_date=*/*.parquet")
    assert len(list(written)) == len(MONTHS)
    assert_loaded(site)


@pytest.mark.fault(
    "kill -9 of a run of `make pipeline` beside `make dev`",
    "the daemon retries the run once, and the pipeline waits for it",
    "nothing",
)
def test_pipeline_beside_dev_waits_for_the_retry(site: Site, start: Start) -> None:
    _, graphql = start_dev(start)
    site.arm("os.rename", r"raw/\.taxi_trips_2023-02\.parquet")
    command = start_pipeline(start)
    site.wait_until_hit(START_SECONDS)
    assert_succeeds(command)
    assert "trips and zones failed and is retried: " in command.text()
    assert "was terminated by signal 9 (SIGKILL)" in command.text()
    assert len(graphql.runs_of("ingestion", "trip_update_job")) == 2
    assert_equal_source(site, RunningInstance(graphql.url), MONTHS)


def assert_succeeds(command: Command) -> None:
    wait_for(lambda: command.process.poll() is not None, command.text, PIPELINE_SECONDS)
    assert command.process.returncode == 0, command.text()


def assert_loaded(site: Site) -> None:
    """Check the lake by an instance, after the commands have ended."""
    wait_until_nothing_runs(site)
    served = locations()[:1]
    environment = site.environment
    with Instance(site.home, daemon=False, environment=environment, served=served) as instance:
        assert_sound(site, instance)
