"""The process of a cancelled run ends, though its code does not heed the interrupt."""

import subprocess
import sys
from pathlib import Path

import dagster as dg

STUBBORN = """
import sys, time
import dagster as dg
from taxi_shared import run_process

run_process.POLL_SECONDS, run_process.GRACE_SECONDS = 0.1, 0.3

@dg.op
def stubborn(context):
    run_process.end_when_cancelled(context.instance, context.run_id)
    if sys.argv[2] == "cancel":
        context.instance.report_run_canceling(context.run)
        time.sleep(60)
    time.sleep(1)

@dg.job
def endless():
    stubborn()

with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    endless.execute_in_process(instance=instance)
"""


def run(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STUBBORN, str(folder), what],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_cancelled_run_ends_as_cancelled(tmp_path: Path) -> None:
    ended = run(tmp_path, "cancel")
    assert ended.returncode == 1, ended.stderr
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def test_other_runs_go_on(tmp_path: Path) -> None:
    ended = run(tmp_path, "succeed")
    assert ended.returncode == 0, ended.stderr
    assert "RUN_SUCCESS" in ended.stderr
