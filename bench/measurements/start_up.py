"""What starting costs: importing a location's definitions, and `make dev`."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.processes import STOCK_PYTHON, ended, start
from bench.runs import BenchError, wait_until
from bench.scale import Bench, fresh
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import free_port
from taxi_platform.workspace import Location, locations

IMPORTS = 7
STARTS = 3
START_SECONDS = 180
POLL_SECONDS = 0.1


def imports(bench: Bench) -> dict[str, Any]:
    """A fresh Python that imports a location, in turn with one that imports `dagster` alone.

    The latter is Python as it comes; with the platform's start of every process it is beside it.
    """
    result: dict[str, Any] = {}
    for location in locations():
        times: dict[str, list[float]] = {"dagster": [], "definitions": [], "dagster_with_hook": []}
        _import(location, "dagster", location.module)  # bytecode and disk cache
        for _ in range(IMPORTS):
            times["dagster"].append(_import(location, "dagster", env=STOCK_PYTHON))
            times["dagster_with_hook"].append(_import(location, "dagster"))
            times["definitions"].append(_import(location, location.module))
        result[location.name] = times
        best = {name: min(values) for name, values in times.items()}
        bench.say(f"{location.name}: {best['definitions']:.2f} s, dagster {best['dagster']:.2f} s")
    return result


def _import(location: Location, *modules: str, env: Mapping[str, str] | None = None) -> float:
    command = [str(location.python), "-c", f"import {', '.join(modules)}"]
    begin = time.perf_counter()
    python = start(command, env=env, cwd=location.folder, output="stderr")
    with ended(python):
        _, errors = python.communicate()
        seconds = time.perf_counter() - begin
    if python.returncode:
        raise BenchError(f"{location.name}: {', '.join(modules)} failed:\n{errors.decode()}")
    return round(seconds, 4)


def dev(bench: Bench) -> dict[str, Any]:
    """`make dev` from the command until the API says that all three locations are loaded.

    Once before to warm up, then three times; it is ended by Ctrl-C's signal.
    """
    home = fresh(bench.work / "home-dev")
    seconds = [_start_dev(home) for _ in range(1 + STARTS)]
    bench.say(f"make dev: {', '.join(f'{value:.1f}' for value in seconds[1:])} s")
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

    with ended(process, by=signal.SIGINT):
        wait_until("make dev", START_SECONDS, is_loaded, POLL_SECONDS)
        return round(time.perf_counter() - begin, 3)
