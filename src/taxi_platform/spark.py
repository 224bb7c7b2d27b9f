"""A cluster of Spark on this machine, and its answers beside DuckDB's."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from taxi_platform import demo
from taxi_platform.instance import HOST, Instance, free_port
from taxi_platform.pipeline import Pipeline, report_name
from taxi_platform.workspace import ROOT

HOME = ROOT / ".tools" / "spark"
WORKERS, WORKER_MEMORY = 2, "1g"
START_SECONDS, STOP_SECONDS = 60, 10
SHOWN = 4  # lines of each answer
JAVA = (
    "Spark needs Java 17 or newer: install Debian's openjdk-17-jre-headless, or what your system "
    "calls it, or set JAVA_HOME"
)


class SparkError(Exception):
    """Spark is not installed, or does not start; the message says what to do."""


@dataclass(frozen=True)
class Results:
    """What the questions of all assets were answered.

    files:   the content of each asset's result
    seconds: of each asset
    """

    files: dict[str, bytes]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Cluster:
    """A standalone cluster: a master and two workers with a core each.

    home:    the environment that has Spark
    master:  its address
    state:   the address of its state as JSON
    workers: their process groups
    """

    home: Path
    master: str
    state: str
    workers: list[int] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which assets ask this cluster."""
        options = {
            "spark.driver.host": HOST,
            "spark.driver.bindAddress": HOST,
            "spark.ui.enabled": "false",
        }
        return {
            "TAXI_ENGINE": "spark-submit",
            "TAXI_SPARK_SUBMIT_COMMAND": str(self.home / "bin" / "spark-submit"),
            "TAXI_SPARK_SUBMIT_MASTER": self.master,
            "TAXI_SPARK_SUBMIT_OPTIONS": " ".join(
                f"--conf {name}={value}" for name, value in options.items()
            ),
            **spark_home(self.home),
        }

    def read_state(self) -> dict[str, Any]:
        """The workers and applications of the cluster, as its master reports them."""
        found: dict[str, Any] = requests.get(self.state, timeout=10).json()
        return found


@contextmanager
def cluster(home: Path = HOME) -> Iterator[Cluster]:
    """Start a cluster within the block. Raises SparkError."""
    check_installed(home)
    port, page = free_port(), free_port()
    started = Cluster(home, f"spark://{HOST}:{port}", f"http://{HOST}:{page}/json/")
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taxi-spark-")))
        start = _starter(stack, home, logs)
        start("master", ["--port", str(port), "--webui-port", str(page)])
        _wait(started, workers=0, logs=logs)
        size = ["--cores", "1", "--memory", WORKER_MEMORY]
        for number in range(WORKERS):
            place = ["--webui-port", str(free_port()), "--work-dir", str(logs / str(number))]
            worker = start(f"worker-{number}", [*place, *size, started.master])
            started.workers.append(worker)
        _wait(started, workers=WORKERS, logs=logs)
        yield started


def spark_home(home: Path) -> dict[str, str]:
    """The variables by which Spark's commands find their files in an environment."""
    (package,) = home.glob("lib/python*/site-packages/pyspark")
    return {"SPARK_HOME": str(package), "PYSPARK_PYTHON": str(home / "bin" / "python")}


def check_installed(home: Path) -> None:
    """Raise SparkError where Spark or Java is missing."""
    if not (home / "bin" / "spark-submit").exists():
        raise SparkError(f"{home} has no Spark: run `make spark-environment`")
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
    try:
        found = subprocess.run([java, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SparkError(f"There is no Java here. {JAVA}") from None
    version = re.search(r'version "(\d+)', found.stderr)
    if version and int(version[1]) < 17:  # noqa: PLR2004 - Java's
        raise SparkError(f"{found.stderr.splitlines()[0]} is too old. {JAVA}")


def compare(rows: int, console: Console) -> bool:
    """Ask DuckDB and a cluster for the weeks, the zones and a report of a sample.

    rows: trips per month. Returns whether all answers are equal, to the byte. Raises SparkError.
    """
    check_installed(HOME)  # before the sample takes its time
    with tempfile.TemporaryDirectory(prefix="taxi-spark-") as folder:
        root = Path(folder)
        demo.make_sample(root, rows, console)
        with cluster() as spark:
            installed = version_of(spark.home)
            console.print(f"{installed} at {spark.master} has {WORKERS} workers", highlight=False)
            answers = {
                name: _materialize(root, environment, console)
                for name, environment in (("DuckDB", {}), (installed, spark.environment))
            }
    duckdb, other = answers.values()
    table = Table("asset", *(f"{name}, s" for name in answers), "bytes", "answers")
    for asset, content in duckdb.files.items():
        times = [f"{each.seconds[asset]:.1f}" for each in answers.values()]
        equal = "equal" if content == other.files[asset] else "[red]different[/]"
        for name, each in answers.items():
            text = shorten(each.files[asset])
            console.print(f"{asset} by {name}\n{text}\n", highlight=False, markup=False)
        table.add_row(asset, *times, f"{len(content):,}", equal)
    console.print(table)
    return duckdb.files == other.files


def shorten(content: bytes) -> str:
    """The first lines of a CSV, or the first features of a GeoJSON without their shapes."""
    text = content.decode()
    if text.startswith("{"):
        lines = [json.dumps(each["properties"]) for each in json.loads(text)["features"]]
    else:
        lines = text.splitlines()
    more = len(lines) - SHOWN
    return "\n".join([*lines[:SHOWN], *([f"… {more} more"] if more > 0 else [])])


def _materialize(root: Path, engine: dict[str, str], console: Console) -> Results:
    """Materialize everything that asks an engine; the trips are loaded if they are not."""
    quiet = Console(quiet=True)
    environment = {**demo.environment(root), **engine}
    with Instance(root / "home", daemon=False, environment=environment) as instance:
        pipeline = Pipeline(instance, quiet)
        pipeline.wait_for_locations()
        with console.status(f"weeks, zones and a report by {engine.get('TAXI_ENGINE', 'duckdb')}"):
            pipeline.run_all(demo.MONTHS)
            pipeline.run_report(report_name(demo.MONTHS), "Manhattan", demo.MONTHS)
    files = {
        "trips_by_week": root / "outputs" / "trips_by_week.csv",
        "manhattan_stats": root / "staging" / "manhattan_stats.geojson",
        "adhoc_request": root / "outputs" / f"{report_name(demo.MONTHS)}.csv",
    }
    seconds = dict.fromkeys(files, 0.0)
    for event in pipeline.materialized:
        if event.asset in seconds:
            seconds[event.asset] += event.metadata.get("seconds") or 0
    return Results({asset: path.read_bytes() for asset, path in files.items()}, seconds)


def _starter(stack: ExitStack, home: Path, logs: Path) -> Callable[[str, Sequence[str]], int]:
    """A function that starts a process of the cluster, which ends with the stack.

    It returns the id of the process, and of its group.
    """

    def start(name: str, arguments: Sequence[str]) -> int:
        kind = name.partition("-")[0]
        main = f"org.apache.spark.deploy.{kind}.{kind.capitalize()}"
        with (logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [home / "bin" / "spark-class", main, "--host", HOST, *arguments],
                env={**os.environ, **spark_home(home), "SPARK_LOCAL_IP": HOST},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # executors are children of workers
            )
        stack.callback(_stop, process)
        return process.pid

    return start


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stop in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _wait(started: Cluster, workers: int, logs: Path) -> None:
    """Wait until the cluster has that many workers. Raises SparkError with its logs."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if started.read_state()["aliveworkers"] == workers:
                return
        time.sleep(0.2)
    texts = [log.read_text(errors="replace")[-1000:] for log in sorted(logs.glob("*.log"))]
    raise SparkError(f"Spark did not start in {START_SECONDS} s:\n" + "\n".join(texts))


def version_of(home: Path) -> str:
    """`Spark 4.3.0`."""
    (found,) = home.glob("lib/python*/site-packages/pyspark-*.dist-info")
    return f"Spark {found.name.removesuffix('.dist-info').partition('-')[2]}"
