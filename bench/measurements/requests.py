"""Requests: from a file in the folder to its chart on disk, one by one and fifty at once."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.ours import Platform, lake, platform
from bench.runs import PARTITION, BenchError, wait_until
from bench.scale import FEW_MONTHS, Bench
from taxi_shared.tables import BOROUGHS

ONE_BY_ONE = 20
AT_ONCE = 50
WARM_UP = 2
POLL_SECONDS = 0.02
LONGEST_SECONDS = 600
# A second answer to a request would come with one of the sensor's next looks.
DOUBLES_SECONDS = 12
# Between two requests, so that they do not keep step with the sensor.
PAUSE_SECONDS = 5.0


def one_by_one_and_at_once(bench: Bench) -> dict[str, Any]:
    """On a warm instance over three months: 20 one after the other, then 50 in the same moment."""
    data = lake(bench, FEW_MONTHS)
    chance = random.Random(1)  # noqa: S311 - pauses, no secrets  # noqa: S311 - pauses, not secrets
    for folder in (data / "requests", data / "outputs"):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("bench_*"):
            old.unlink()
    with platform(bench.work / "home", data) as ours:
        for number in range(WARM_UP):
            _answer(ours, [_name("warm", number)])
        single = []
        with ours.memory_of_runs("adhoc_reports") as memory:
            for number in range(ONE_BY_ONE):
                time.sleep(chance.uniform(0, PAUSE_SECONDS))
                single += _answer(ours, [_name("single", number)])
                bench.say(f"request {number + 1} of {ONE_BY_ONE}: {single[-1]:.2f} s")
        time.sleep(chance.uniform(0, PAUSE_SECONDS))
        with ours.memory_of_runs("adhoc_reports") as memory_at_once:
            at_once = _answer(ours, [_name("burst", number) for number in range(AT_ONCE)])
        bench.say(f"{AT_ONCE} requests at once: {max(at_once):.1f} s")
        time.sleep(DOUBLES_SECONDS)
        doubled = _answered_twice(ours)
    return {
        "single": single,
        "at_once": at_once,
        "lost": AT_ONCE - len(at_once),
        "doubled": doubled,
        "largest_mb": [round(memory.largest, 1), round(memory_at_once.largest, 1)],
        "together_mb": [round(memory.together, 1), round(memory_at_once.together, 1)],
    }


def _name(kind: str, number: int) -> str:
    return f"bench_{kind}_{number:02}"


def _answer(ours: Platform, names: Sequence[str]) -> list[float]:
    """Drop requests, and wait for their charts: the seconds until each was there, sorted."""
    folder, outputs = ours.data / "requests", ours.data / "outputs"
    waiting = {outputs / f"{name}.png": "" for name in names}
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

    def all_there() -> bool:
        for chart in [chart for chart in waiting if chart.exists()]:
            seconds.append(round(time.perf_counter() - begin, 3))
            del waiting[chart]
        return not waiting

    try:
        wait_until(f"{len(names)} request(s)", LONGEST_SECONDS, all_there, POLL_SECONDS)
    except BenchError:
        if len(names) == 1 or not seconds:
            raise
    return seconds


def _answered_twice(ours: Platform) -> int:
    """Requests that have more than one run."""
    runs = ours.instance.graphql.ask(
        """{ runsOrError(limit: 1000, filter: {pipelineName: "adhoc_request_job",
            tags: [{key: "dagster/code_location", value: "adhoc_reports"}]}) { ... on Runs {
            results { status tags { key value } } } } }"""
    )["runsOrError"]["results"]
    names = Counter(
        tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "dagster/partition"
    )
    expected = WARM_UP + ONE_BY_ONE + AT_ONCE
    failed = [run for run in runs if run["status"] != "SUCCESS"]
    if failed:
        raise BenchError(f"{len(failed)} of {len(runs)} requests' runs did not succeed")
    return sum(count > 1 for count in names.values()) + max(0, len(names) - expected)
