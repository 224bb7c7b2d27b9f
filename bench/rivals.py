"""The two rivals, each in its own processes: the bare script, and the usual set-up."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.processes import Memory, peak_memory, start, stopping
from bench.runs import BenchError, wait_for_daemons, wait_until
from bench.scale import empty_folder, month_range
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import free_port

START_SECONDS = 180


def run_bare_script(target: Path, publisher: str, months: int) -> tuple[float, Memory]:
    """Run the bare script; returns the seconds from its start to its end, and its memory."""
    empty_folder(target)
    names = [f"{month:%Y-%m}" for month in month_range(months).months]
    command = [sys.executable, "-m", "bench.bare", publisher, str(target), *names]
    begin = time.perf_counter()
    script = start(command, output="stderr")
    with stopping(script), peak_memory(script.pid, only_new=False) as memory:
        _, errors = script.communicate()
        seconds = time.perf_counter() - begin
    if script.returncode:
        raise BenchError(f"the bare script failed:\n{errors.decode()}")
    return seconds, memory


@contextmanager
def start_usual_setup(folder: Path, publisher: str) -> Iterator[tuple[GraphQL, int]]:
    """Run the usual set-up by `dagster dev` in an empty folder; yields its API and process id."""
    empty_folder(folder)
    (folder / "home").mkdir()
    (folder / "data" / "raw").mkdir(parents=True)
    # Dagster's defaults, without telemetry.
    (folder / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-m", "bench.usual.definitions"]
    log_file = folder / "dagster.log"
    with log_file.open("wb") as log:
        process = start(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={
                "DAGSTER_HOME": str(folder / "home"),
                "TLC_SOURCE_URL": publisher,
                "TAXI_DATA_ROOT": str(folder / "data"),
                "DUCKDB_DATABASE": str(folder / "data" / "data.duckdb"),
            },
            output=log,
        )
        with stopping(process):
            graphql = GraphQL(f"http://127.0.0.1:{port}")

            def is_loaded() -> bool:
                if process.poll() is not None:
                    raise BenchError(f"dagster dev ended:\n{log_file.read_text()[-2000:]}")
                return graphql.is_up() and set(graphql.location_errors().values()) == {None}

            wait_until("dagster dev", START_SECONDS, is_loaded, 0.5)
            wait_for_daemons(graphql)
            yield graphql, process.pid


def count_usual_rows(folder: Path) -> int:
    """Count the rows in the usual set-up's table."""
    with duckdb.connect(str(folder / "data" / "data.duckdb"), read_only=True) as con:
        (rows,) = con.execute("SELECT count(*) FROM trips").fetchone() or (0,)
    return int(rows)


def check_equal(ours: Path, bare: Path) -> None:
    """Compare the Parquet of two data roots. Raises BenchError, which names months that differ.

    It compares columns, types, sums, and the hashes of all rows, which may be in another order.
    """
    found = []
    with duckdb.connect() as con:
        for folder in sorted((ours / "staging" / "trips").glob("partition_date=*")):
            other = bare / folder.relative_to(ours)
            if not other.exists():
                found.append(f"{other} is missing")
            elif (mine := _fingerprint(con, folder)) != (theirs := _fingerprint(con, other)):
                found.append(f"{folder.name}: {mine} and {theirs}")
    if found:
        raise BenchError("the lake differs from the bare script's Parquet:\n" + "\n".join(found))


def _fingerprint(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[object, ...]:
    """The rows and columns of the only Parquet file in a folder."""
    trips = con.read_parquet(str(folder / "*.parquet"), hive_partitioning=False).set_alias("t")
    # The sum, since equal rows cancel each other out in bit_xor.
    totals = trips.aggregate(
        "count(*), sum(total_amount), sum(trip_distance), sum(hash(t))"
    ).fetchone()
    return (*(totals or ()), *zip(trips.columns, map(str, trips.types), strict=True))
