"""The two rivals, run as whole processes: the bare script, and the usual set-up's instance."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.processes import STOCK_PYTHON, Memory, ended, peak_memory, start
from bench.runs import BenchError, wait_for_daemons, wait_until
from bench.scale import fresh, month_range
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import free_port

START_SECONDS = 180


def run_bare(target: Path, publisher: str, months: int) -> tuple[float, Memory]:
    """The bare script from its start to its end: seconds and memory."""
    fresh(target)
    names = [f"{month:%Y-%m}" for month in month_range(months).months]
    command = [sys.executable, "-m", "bench.bare", publisher, str(target), *names]
    begin = time.perf_counter()
    script = start(command, env=STOCK_PYTHON, output="stderr")
    with ended(script), peak_memory(script.pid, only_new=False) as memory:
        _, errors = script.communicate()
        seconds = time.perf_counter() - begin
    if script.returncode:
        raise BenchError(f"the bare script failed:\n{errors.decode()}")
    return seconds, memory


@contextmanager
def usual_setup(folder: Path, publisher: str) -> Iterator[tuple[GraphQL, int]]:
    """The usual set-up, started by `dagster dev` on an empty folder: its API and its process."""
    fresh(folder)
    (folder / "home").mkdir()
    (folder / "data" / "raw").mkdir(parents=True)
    # Dagster's defaults, but for reports to its makers.
    (folder / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-m", "bench.usual.definitions"]
    log_file = folder / "dagster.log"
    with log_file.open("wb") as log:
        process = start(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={
                **STOCK_PYTHON,
                "DAGSTER_HOME": str(folder / "home"),
                "TLC_SOURCE_URL": publisher,
                "TAXI_DATA_ROOT": str(folder / "data"),
                "DUCKDB_DATABASE": str(folder / "data" / "data.duckdb"),
            },
            output=log,
        )
        with ended(process):
            graphql = GraphQL(f"http://127.0.0.1:{port}")

            def is_loaded() -> bool:
                if process.poll() is not None:
                    raise BenchError(f"dagster dev ended:\n{log_file.read_text()[-2000:]}")
                return graphql.is_up() and set(graphql.location_errors().values()) == {None}

            wait_until("dagster dev", START_SECONDS, is_loaded, 0.5)
            wait_for_daemons(graphql)
            yield graphql, process.pid


def usual_rows(folder: Path) -> int:
    """Rows in the usual set-up's table."""
    with duckdb.connect(str(folder / "data" / "data.duckdb"), read_only=True) as con:
        (rows,) = con.execute("SELECT count(*) FROM trips").fetchone() or (0,)
    return int(rows)


def differences(ours: Path, bare: Path) -> list[str]:
    """How the Parquet of two data roots differs, a line a month; nothing where it is the same.

    Columns, types, and a hash over every row with its place in the file are compared.
    """
    found = []
    with duckdb.connect() as con:
        for file in sorted((ours / "staging" / "trips").rglob("*.parquet")):
            other = bare / file.relative_to(ours)
            if not other.exists():
                found.append(f"{other} is missing")
            elif (mine := _fingerprint(con, file)) != (theirs := _fingerprint(con, other)):
                found.append(f"{file.parent.name}: {mine} and {theirs}")
    return found


def _fingerprint(con: duckdb.DuckDBPyConnection, file: Path) -> tuple[object, ...]:
    trips = con.read_parquet(str(file), file_row_number=True, hive_partitioning=False).set_alias(
        "t"
    )
    totals = trips.aggregate(
        "count(*), sum(total_amount), sum(trip_distance), bit_xor(hash(t))"
    ).fetchone()
    return (*(totals or ()), *zip(trips.columns, map(str, trips.types), strict=True))
