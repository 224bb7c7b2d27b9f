"""Requests from the file to the chart on disk, one by one and fifty at once."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.ours import Platform, make_lake, start_platform
from bench.runs import PARTITION, BenchError, wait_until
from bench.scale import FEW_MONTHS, Bench
from taxi_shared.tables import BOROUGHS

ONE_BY_ONE = 20
AT_ONCE = 50
WARM_UP = 2
POLL_SECONDS = 0.02
LONGEST_SECONDS = 600
# A second run for a request would start in one of the sensor's next ticks.
DOUBLES_SECONDS = 12
# Longest pause between two requests, so that they do not coincide with the sensor's ticks.
PAUSE_SECONDS = 5.0


def measure_requests(bench: Bench) -> dict[str, Any]:
    """Measure 20 requests one by one, then 50 at once, on a warm instance with three months."""
    data = make_lake(bench, FEW_MONTHS)
    chance = random.Random(1)  # noqa: S311 - pauses, not secrets
    for folder in (data / "requests", data / "outputs"):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("bench_*"):
            old.unlink()
    with start_platform(bench.work / "home", data) as ours:
        for number in range(WARM_UP):
            _submit_and_wait(ours, [_name("warm", number)])
        single = []
        with ours.memory_of_runs("adhoc_reports") as memory:
            for number in range(ONE_BY_ONE):
                time.sleep(chance.uniform(0, PAUSE_SECONDS))
                single += _submit_and_wait(ours, [_name("single", number)])
                bench.log(f"request {number + 1} of {ONE_BY_ONE}: {single[-1]:.2f} s")
        time.sleep(chance.uniform(0, PAUSE_SECONDS))
        with ours.memory_of_runs("adhoc_reports") as memory_at_once:
            at_once = _submit_and_wait(ours, [_name("burst", number) for number in range(AT_ONCE)])
        bench.log(f"{AT_ONCE} requests at once: {max(at_once):.1f} s")
        time.sleep(DOUBLES_SECONDS)
        duplicated = _count_duplicates(ours)
    return {
        "single": single,
        "at_once": at_once,
        "lost": AT_ONCE - len(at_once),
        "duplicated": duplicated,
        "largest_mb": [round(memory.largest, 1), round(memory_at_once.largest, 1)],
        "total_mb": [round(memory.total, 1), round(memory_at_once.total, 1)],
    }


def _name(kind: str, number: int) -> str:
    return f"bench_{kind}_{number:02}"


def _submit_and_wait(ours: Platform, names: Sequence[str]) -> list[float]:
    """Write request files and wait for their charts; returns the seconds of each, ascending."""
    folder, outputs = ours.data / "requests", ours.data / "outputs"
    pending = {outputs / f"{name}.png" for name in names}
    for number, name in enumerate(names):
        request = {
            "borough": BOROUGHS[number % len(BOROUGHS)] if len(names) > 1 else "Manhattan",
            "start_date": "2023-01-10",
            "end_date": f"2023-01-{17 + number % 12}",
        }
        (folder / f".{name}.tmp").write_text(json.dumps(request))
    begin = time.perf_counter()
    for name in names:
        (folder / f".{name}.tmp").replace(folder / f"{name}.json")
    seconds: list[float] = []

    def all_done() -> bool:
        for chart in [chart for chart in pending if chart.exists()]:
            seconds.append(round(time.perf_counter() - begin, 3))
            pending.remove(chart)
        return not pending

    try:
        wait_until(f"{len(names)} request(s)", LONGEST_SECONDS, all_done, POLL_SECONDS)
    except BenchError:
        if len(names) == 1 or not seconds:
            raise
    return seconds


def _count_duplicates(ours: Platform) -> int:
    """Count the requests that have more than one run."""
    runs = ours.instance.graphql.ask(
        """{ runsOrError(limit: 1000, filter: {pipelineName: "adhoc_request_job",
            tags: [{key: "dagster/code_location", value: "adhoc_reports"}]}) { ... on Runs {
            results { status tags { key value } } } } }"""
    )["runsOrError"]["results"]
    names = Counter(tag["value"] for run in runs for tag in run["tags"] if tag["key"] == PARTITION)
    failed = [run for run in runs if run["status"] != "SUCCESS"]
    if failed:
        raise BenchError(f"{len(failed)} of {len(runs)} runs of requests did not succeed")
    return sum(count > 1 for count in names.values())
