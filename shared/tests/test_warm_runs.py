"""The parent of warm runs: a real process, asked as a launcher asks it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from tests.waiting import wait_for

from taxi_shared.warm_runs import WarmRunLauncher
from taxi_shared.warm_runs import launcher as launchers
from taxi_shared.warm_runs import parent as parents
from taxi_shared.warm_runs.launcher import PARENT_TAG
from taxi_shared.warm_runs.parent import Beginning, code_on_disk, resident_bytes
from taxi_shared.warm_runs.protocol import GO, NoAnswer, request, short_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Runs start warm on Linux only")
SECONDS = 30.0
VERSION = ["--version"]  # of Dagster's command: it prints a line and ends


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME, and a module `code` that a parent imports."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (tmp_path / "code_1.py").write_text("ANSWER = 42")
    return tmp_path


@contextmanager
def started(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (home / "log").open("ab") as log:
        parent = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "taxi_shared.warm_runs",
                str(home / "warm" / "a.sock"),
                "code_1",
            ],
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(home)},
            stdout=log,
            stderr=log,
        )
        try:
            yield parent
        finally:
            parent.kill()
            parent.wait()


@pytest.fixture
def parent(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with started(home) as process:
        wait_for((home / "warm" / "a.sock").exists, "the socket")
        yield process


def ask(home: Path, run_id: str, question: str) -> bool:
    with request(home / "warm" / "a.sock", SECONDS, do=question, run_id=run_id) as (answer, _):
        return bool(answer["is_running"])


def hold(stack: ExitStack, home: Path, run_id: str) -> socket.socket:
    """Start a run that waits for GO."""
    start = {"do": "start", "run_id": run_id, "command": VERSION}
    answer, connection = stack.enter_context(request(home / "warm" / "a.sock", SECONDS, **start))
    assert answer["is_running"]
    return connection


def log_of(home: Path) -> str:
    return (home / "log").read_text()


@pytest.mark.usefixtures("parent")
def test_run_executes_after_go(home: Path) -> None:
    with ExitStack() as stack:
        connection = hold(stack, home, "a")
        assert "dagster, version" not in log_of(home)
        connection.sendall(GO)
        wait_for(lambda: "dagster, version" in log_of(home), "the run's output")
    wait_for(lambda: not ask(home, "a", "check"), "the run's end")


@pytest.mark.usefixtures("parent")
def test_launcher_that_gives_up_starts_nothing(home: Path) -> None:
    with ExitStack() as stack:
        hold(stack, home, "a")
        assert ask(home, "a", "check")
    wait_for(lambda: not ask(home, "a", "check"), "the process's end")
    assert "dagster, version" not in log_of(home)


def test_parent_that_resumes_leaves_alone_a_run_that_has_started_cold(
    home: Path, parent: subprocess.Popen[bytes]
) -> None:
    run = dg.DagsterRun(job_name="any", run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_run(run)
        parent.send_signal(signal.SIGSTOP)
        start = {"do": "start", "run_id": run.run_id, "command": VERSION}
        with pytest.raises(NoAnswer), request(home / "warm" / "a.sock", 0.2, **start):
            pass  # so the launcher starts it cold
        parent.send_signal(signal.SIGCONT)
        wait_for(lambda: not ask(home, run.run_id, "check"), "the process's end")
        wait_for(lambda: not children.read_text(), "the end of what reports a failure")
        [found] = instance.get_runs()
        assert found.status is dg.DagsterRunStatus.STARTED
    assert "dagster, version" not in log_of(home)


@pytest.mark.usefixtures("parent")
def test_run_gets_one_process(home: Path) -> None:
    with ExitStack() as stack:
        hold(stack, home, "a")
        with pytest.raises(NoAnswer), ExitStack() as second:
            hold(second, home, "a")
        assert ask(home, "a", "check")
        hold(stack, home, "b")


@pytest.mark.usefixtures("parent")
def test_stopped_run_is_interrupted(home: Path) -> None:
    with ExitStack() as stack:
        hold(stack, home, "a")
        assert ask(home, "a", "stop")
        wait_for(lambda: not ask(home, "a", "check"), "the process's end")
    assert not ask(home, "a", "stop")


@pytest.mark.usefixtures("parent")
def test_nonsense_keeps_no_other_request_out(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client, short_path(home / "warm" / "a.sock") as address:
        client.connect(address)
        client.sendall(b"no json\n")
        assert client.recv(100) == b""
    for message in ({"do": "delete"}, {"do": "check"}, {"run_id": "a"}):
        with pytest.raises(NoAnswer), request(home / "warm" / "a.sock", SECONDS, **message):
            pass
    with socket.socket(socket.AF_UNIX) as silent, short_path(home / "warm" / "a.sock") as address:
        silent.connect(address)
        assert not ask(home, "a", "check")


def test_changed_code_is_imported_while_runs_go_on(
    home: Path, parent: subprocess.Popen[bytes]
) -> None:
    with ExitStack() as stack:
        connection = hold(stack, home, "a")
        (home / "code_1.py").write_text("ANSWER = 43; print('changed')")
        hold(stack, home, "b")
        assert "changed" in log_of(home)
        assert "restarts: the code has changed" in log_of(home)
        assert ask(home, "a", "check")
        assert parent.poll() is None
        connection.sendall(GO)
        wait_for(lambda: not ask(home, "a", "check"), "the first run's end")
        assert "dagster, version" in log_of(home)


@pytest.mark.usefixtures("parent")
def test_broken_code_lets_runs_end_until_it_is_mended(home: Path) -> None:
    with ExitStack() as stack:
        connection = hold(stack, home, "a")
        (home / "code_1.py").write_text("raise RuntimeError('half an edit')")
        with pytest.raises(NoAnswer):
            hold(stack, home, "b")
        assert "half an edit" in log_of(home)
        assert not (home / "warm" / "a.sock").is_symlink()
        connection.sendall(GO)
        wait_for(lambda: "dagster, version" in log_of(home), "the run's output")
        (home / "code_1.py").write_text("ANSWER = 44")
        wait_for((home / "warm" / "a.sock").exists, "the socket")
        hold(stack, home, "b")


def test_deploy_lets_runs_end_and_starts_none(home: Path, parent: subprocess.Popen[bytes]) -> None:
    own = (home / "warm" / "a.sock").resolve()
    with ExitStack() as stack:
        connection = hold(stack, home, "a")
        parent.send_signal(signal.SIGTERM)
        wait_for(lambda: not (home / "warm" / "a.sock").is_symlink(), "the end of new runs")
        with started(home):  # the next version
            wait_for((home / "warm" / "a.sock").exists, "the socket")
            hold(stack, home, "b")
            with request(own, SECONDS, do="check", run_id="a") as (answer, _):
                assert answer["is_running"]
            connection.sendall(GO)
            assert parent.wait(SECONDS) == 0
            assert ask(home, "b", "check")
            assert not own.exists()


def test_runs_end_with_a_parent_that_is_killed(home: Path, parent: subprocess.Popen[bytes]) -> None:
    with ExitStack() as stack:
        connection = hold(stack, home, "a")
        parent.kill()
        parent.wait()
        assert connection.recv(100) == b""  # the process that held the other end is gone
        with pytest.raises(NoAnswer) as no_answer:
            ask(home, "a", "check")
        assert no_answer.value.is_gone
    dead = (home / "warm" / "a.sock").resolve()
    with started(home):
        wait_for(lambda: not dead.exists(), "the removal of the old socket")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()",
            "thread",
        ),
        ("import socket; S = socket.socket()", "opened socket:"),
        ("F = open(__file__)", "code_1.py and left it open"),
    ],
)
def test_module_that_a_fork_would_break_is_named(home: Path, code: str, message: str) -> None:
    (home / "code_1.py").write_text(code)
    with started(home):
        wait_for(lambda: "Runs start cold" in log_of(home), "the message")
        assert "Importing code_1" in log_of(home)
        assert message in log_of(home)
        assert not (home / "warm" / "a.sock").is_symlink()
        (home / "code_1.py").write_text("ANSWER = 42")
        wait_for((home / "warm" / "a.sock").exists, "the socket")


def test_files_of_edited_packages_are_watched() -> None:
    files = {Path(each).name for each in code_on_disk()}
    assert {"parent.py", "protocol.py"} <= files
    assert "pathlib.py" not in files


def test_parent_restarts_after_many_runs_or_growth() -> None:
    beginning = Beginning(code_on_disk(), resident_bytes())
    assert beginning.restart_reason(parents.MAX_RUNS - 1, []) is None
    assert beginning.restart_reason(parents.MAX_RUNS, []) == "it has started 1,000 runs"
    smaller = Beginning(beginning.code, resident_bytes() - 2 * parents.MAX_GROWTH_BYTES)
    assert str(smaller.restart_reason(0, [])).startswith("it has grown by 1")


def warm_run(socket_path: Path | str) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="any", run_id="a", tags={PARENT_TAG: str(socket_path)})


@pytest.mark.usefixtures("parent")
def test_run_monitoring_sees_a_run_and_its_end(home: Path) -> None:
    launcher, run = WarmRunLauncher(), warm_run(home / "warm" / "a.sock")
    with ExitStack() as stack:
        hold(stack, home, "a")
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    wait_for(lambda: not ask(home, "a", "check"), "the process's end")
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING  # for one check
    assert launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


def test_run_of_a_busy_parent_counts_as_running(
    home: Path, parent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "ANSWER_SECONDS", 0.5)
    run = warm_run(home / "warm" / "a.sock")
    parent.send_signal(signal.SIGSTOP)  # as by an import of changed code
    assert launchers.is_running(run)
    parent.kill()
    parent.wait()
    assert not launchers.is_running(run)


def test_health_of_a_cold_run_is_what_its_launcher_says() -> None:
    run = dg.DagsterRun(job_name="any", tags={PARENT_TAG: ""})
    assert WarmRunLauncher().check_run_worker_health(run).status is WorkerStatus.RUNNING
    cold = {"module": "taxi_shared.warm_runs", "class": "WarmRunLauncher", "config": {}}
    assert WarmRunLauncher(cold=cold).supports_check_run_worker_health
