"""Start-up: importing a location's definitions, and `make dev`."""

import signal
import time
from pathlib import Path
from typing import Any

from bench.processes import start, stopping
from bench.runs import BenchError, wait_until
from bench.scale import Bench, empty_folder
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import free_port
from taxi_platform.workspace import Location, locations

IMPORTS = 7
STARTS = 3
START_SECONDS = 180
POLL_SECONDS = 0.1


def measure_imports(bench: Bench) -> dict[str, Any]:
    """Time processes that import a location's definitions, or `dagster` alone, alternating.

    Definitions import `taxi_shared.process`, which makes garbage collections rarer. So `dagster` is
    timed with and without it.
    """
    result: dict[str, Any] = {}
    for location in locations():
        imported = {
            "dagster": "dagster",
            "dagster_with_gc_settings": "dagster, taxi_shared.process",
            "definitions": location.module,
        }
        times: dict[str, list[float]] = {name: [] for name in imported}
        _time_import(location, location.module)  # fills the caches of bytecode and disk
        for _ in range(IMPORTS):
            for name, modules in imported.items():
                times[name].append(_time_import(location, modules))
        result[location.name] = times
        best = {name: min(values) for name, values in times.items()}
        bench.log(f"{location.name}: {best['definitions']:.2f} s, dagster {best['dagster']:.2f} s")
    return result


def _time_import(location: Location, modules: str) -> float:
    command = [str(location.python), "-c", f"import {modules}"]
    begin = time.perf_counter()
    python = start(command, cwd=location.folder, output="stderr")
    with stopping(python):
        _, errors = python.communicate()
        seconds = time.perf_counter() - begin
    if python.returncode:
        raise BenchError(f"{location.name}: import {modules} failed:\n{errors.decode()}")
    return round(seconds, 4)


def measure_dev(bench: Bench) -> dict[str, Any]:
    """Time `make dev` from the command until the API reports all three locations as loaded.

    It runs once to warm up, then three times, and is stopped by SIGINT.
    """
    home = empty_folder(bench.work / "home-dev")
    seconds = [_start_dev(home) for _ in range(1 + STARTS)]
    bench.log(f"make dev: {', '.join(f'{value:.1f}' for value in seconds[1:])} s")
    return {"warm_up": seconds[0], "seconds": seconds[1:]}


def _start_dev(home: Path) -> float:
    port = free_port()
    graphql = GraphQL(f"http://127.0.0.1:{port}")
    names = {location.name for location in locations()}
    output = home / "make.log"
    with output.open("wb") as log:
        begin = time.perf_counter()
        process = start(
            ["make", "dev", f"PORT={port}"],
            env={"DAGSTER_HOME": str(home)},
            output=log,
        )

    def is_loaded() -> bool:
        if process.poll() is not None:
            raise BenchError(f"make dev ended:\n{output.read_text()}")
        if not graphql.is_up():
            return False
        errors = graphql.location_errors()
        return set(errors) == names and set(errors.values()) == {None}

    with stopping(process, by=signal.SIGINT):
        wait_until("make dev", START_SECONDS, is_loaded, POLL_SECONDS)
        return round(time.perf_counter() - begin, 3)
