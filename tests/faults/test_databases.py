"""Dagster's databases are locked, or away for a while, during a run."""

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
import yaml

from taxi_platform.instance import free_port
from tests.faults.site import JANUARY, Site, launch_load
from tests.faults.sound import assert_sound
from tests.waiting import wait_for, wait_for_status

LOCKED_SECONDS = 60
RESTARTS = (1, 1, 1, 30)  # seconds away; by itself, Dagster waits for 13
POSTGRES = next(iter(Path("/usr/lib/postgresql").glob("*/bin")), None)
# A job that records events all the time, as runs of the platform do.
EVENTS = 500
JOB = f"""
import sys, time
import dagster as dg
import taxi_shared.process

@dg.op
def record(context):
    for n in range({EVENTS}):
        context.log_event(dg.AssetObservation("trips", metadata={{"n": n}}))
        time.sleep(0.02)

@dg.job
def load():
    record()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    load.execute_in_process(instance=instance)
"""


def lock(stack: ExitStack, file: Path) -> None:
    """Let no one else write to a database until the stack is closed."""
    connection = stack.enter_context(
        closing(sqlite3.connect(file, timeout=30, isolation_level=None))
    )
    connection.execute("BEGIN EXCLUSIVE")


@pytest.mark.fault(
    "SQLite is locked for 60 s during a load",
    "the run waits until it can record what it has done, and succeeds",
    "nothing",
)
def test_locked_databases_delay_a_load(site: Site) -> None:
    with site.instance(served=["ingestion"]) as instance:
        site.arm("open", r"raw/\.taxi_trips_2023-01\.parquet", with_signal=0)
        run_id = launch_load(instance, JANUARY)
        site.wait_until_hit()
        with ExitStack() as stack:
            for file in (site.home / "history").rglob("*.db"):
                lock(stack, file)
            time.sleep(LOCKED_SECONDS)
        assert wait_for_status(instance.graphql, run_id) == "SUCCESS"
        assert list(instance.graphql.runs_of("ingestion", "trip_update_job")) == [run_id]
        assert_sound(site, instance, JANUARY)


@dataclass(frozen=True)
class Postgres:
    """A server of PostgreSQL in a folder, on a port of 127.0.0.1."""

    programs: Path
    folder: Path
    port: int

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, which refuses to run as root."""
        subprocess.run(
            [str(self.programs / program), "-D", str(self.folder / "db"), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            user="postgres" if os.getuid() == 0 else None,
            cwd=self.folder,
        )

    def start(self) -> None:
        """Start the server."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self.run("pg_ctl", "start", "-w", "-o", options, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """Stop the server, which ends its connections."""
        self.run("pg_ctl", "stop", "-m", "fast")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed")
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        server = Postgres(POSTGRES, Path(folder), free_port())
        server.run("initdb", "-U", "dagster", "--auth=trust")
        server.start()
        yield server
        server.stop()


@pytest.mark.fault(
    "Postgres restarts four times during a run, and is away for 30 s",
    "runs wait until they can record what they have done, and succeed",
    "nothing",
)
def test_run_outlasts_a_restart_of_postgres(postgres: Postgres, tmp_path: Path) -> None:
    address = {"hostname": "127.0.0.1", "port": postgres.port, "db_name": "postgres"}
    database = {**address, "username": "dagster", "password": "", "scheme": "postgresql+psycopg2"}
    storage = {
        "module": "taxi_shared.postgres_storage",
        "class": "RetryingPostgresStorage",
        "config": {"postgres_db": database},
    }
    settings = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path)])
        trips = dg.AssetKey("trips")
        wait_for(lambda: instance.fetch_observations(trips, limit=1).records, "the first event")
        for seconds_away in RESTARTS:
            time.sleep(1)
            postgres.stop()
            time.sleep(seconds_away)
            postgres.start()
        assert run.wait(120) == 0
        assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
        records = instance.fetch_observations(trips, limit=2 * EVENTS).records
        recorded = Counter(
            each.asset_observation.metadata["n"].value for each in records if each.asset_observation
        )
        assert set(recorded) == set(range(EVENTS))
        # The event under way is recorded again, whether the server had committed it or not.
        assert sum(recorded.values()) <= EVENTS + len(RESTARTS)
