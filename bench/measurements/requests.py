"""Requests from the file to the chart on disk, one by one and fifty at once."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.ours import Platform, make_lake, start_platform
from bench.processes import proportional_mb
from bench.runs import PARTITION, BenchError, wait_until
from bench.scale import FEW_MONTHS, Bench
from bench.server import serve_files
from taxi_shared.tables import BOROUGHS

ONE_BY_ONE = 20
AT_ONCE = 50
WARM_UP = 2
POLL_SECONDS = 0.02
FLOOD = 2_000
# To look for 2,000 charts each 0.02 s would take a third of a core from the runs.
FLOOD_POLL_SECONDS = 1.0
LONGEST_SECONDS = 3_600
# A second run for a request would start in one of the sensor's next ticks.
DOUBLES_SECONDS = 12
# Longest pause between two requests, so that they do not coincide with the sensor's ticks.
PAUSE_SECONDS = 5.0


def measure_requests(bench: Bench) -> dict[str, Any]:
    """Measure requests on an instance whose runs start warm, then on one whose runs start cold."""
    return {**_measure(bench, "warm"), "cold": _measure(bench, "cold")}


def _measure(bench: Bench, runs: Literal["warm", "cold"]) -> dict[str, Any]:
    """Measure 20 requests one by one, then 50 at once, on a lake of three months."""
    data = make_lake_without_reports(bench)
    chance = random.Random(1)  # noqa: S311 - pauses, not secrets
    with start_platform(bench.work / "home", data, runs=runs) as ours:
        for number in range(WARM_UP):
            _submit_and_wait(ours, [_name("first", number)])
        single = []
        with ours.memory_of_runs("adhoc_reports") as memory:
            for number in range(ONE_BY_ONE):
                time.sleep(chance.uniform(0, PAUSE_SECONDS))
                single += _submit_and_wait(ours, [_name("single", number)])
                bench.log(f"{runs} request {number + 1} of {ONE_BY_ONE}: {single[-1]:.2f} s")
        time.sleep(chance.uniform(0, PAUSE_SECONDS))
        with ours.memory_of_runs("adhoc_reports") as memory_at_once:
            at_once = _submit_and_wait(ours, [_name("burst", number) for number in range(AT_ONCE)])
        bench.log(f"{AT_ONCE} {runs} requests at once: {max(at_once):.1f} s")
        time.sleep(DOUBLES_SECONDS)
        duplicated = _count_duplicates(ours)
        parents = [
            round(proportional_mb(each), 1) for each in ours.servers.values() if runs == "warm"
        ]
    return {
        "single": single,
        "at_once": at_once,
        "lost": AT_ONCE - len(at_once),
        "duplicated": duplicated,
        "largest_mb": [round(memory.largest, 1), round(memory_at_once.largest, 1)],
        "total_mb": [round(memory.total, 1), round(memory_at_once.total, 1)],
        "parents_mb": parents,
    }


def measure_flood(bench: Bench) -> dict[str, Any]:
    """Measure 2,000 requests written at once, and a load that is launched in their midst."""
    data = make_lake_without_reports(bench)
    with (
        serve_files(bench.make_sample(1)) as publisher,
        start_platform(bench.work / "home", data, publisher) as ours,
    ):
        _submit_and_wait(ours, [_name("first", 0)])
        flood = Submitted.now(ours, [_name("flood", number) for number in range(FLOOD)])
        flood.wait(FLOOD // 2, FLOOD_POLL_SECONDS)
        times, _ = ours.ingest(1)
        seconds = flood.wait(FLOOD, FLOOD_POLL_SECONDS)
        bench.log(f"{FLOOD:,} requests: {max(seconds):.0f} s; load after {times.to_start:.1f} s")
        time.sleep(DOUBLES_SECONDS)
        duplicated = _count_duplicates(ours)
    return {
        "requests": FLOOD,
        "seconds": max(seconds),
        "lost": FLOOD - len(seconds),
        "duplicated": duplicated,
        "load_started_after": round(times.to_start, 2),
    }


def make_lake_without_reports(bench: Bench) -> Path:
    """A data root with a lake of three months."""
    data = make_lake(bench, FEW_MONTHS)
    for folder in (data / "requests", data / "outputs"):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("bench_*"):
            old.unlink()
    return data


def _name(kind: str, number: int) -> str:
    return f"bench_{kind}_{number:04}"


def _submit_and_wait(ours: Platform, names: Sequence[str]) -> list[float]:
    """Write request files and wait for their charts; returns the seconds of each, ascending."""
    return Submitted.now(ours, names).wait(len(names), POLL_SECONDS)


@dataclass
class Submitted:
    """Requests whose files were written at once.

    pending: the charts to come
    seconds: until each of the others came, ascending
    """

    begin: float
    pending: set[Path]
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def now(cls, ours: Platform, names: Sequence[str]) -> "Submitted":
        """Write request files, which appear at once."""
        folder = ours.data / "requests"
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
        return cls(begin, {ours.data / "outputs" / f"{name}.png" for name in names})

    def wait(self, count: int, poll: float) -> list[float]:
        """Wait for so many charts; fewer are returned if the others do not come."""

        def are_done() -> bool:
            for chart in [chart for chart in self.pending if chart.exists()]:
                self.seconds.append(round(time.perf_counter() - self.begin, 3))
                self.pending.remove(chart)
            return len(self.seconds) >= count

        try:
            wait_until(f"{count} request(s)", LONGEST_SECONDS, are_done, poll)
        except BenchError:
            if count == 1 or not self.seconds:
                raise
        return self.seconds


def _count_duplicates(ours: Platform) -> int:
    """Count the requests that have more than one run."""
    runs = ours.instance.graphql.ask(
        """{ runsOrError(limit: 5000, filter: {pipelineName: "adhoc_request_job",
            tags: [{key: "dagster/code_location", value: "adhoc_reports"}]}) { ... on Runs {
            results { status tags { key value } } } } }"""
    )["runsOrError"]["results"]
    names = Counter(tag["value"] for run in runs for tag in run["tags"] if tag["key"] == PARTITION)
    others = Counter(run["status"] for run in runs if run["status"] != "SUCCESS")
    if others:
        raise BenchError(f"of {len(runs)} runs of requests, some did not succeed: {dict(others)}")
    return sum(count > 1 for count in names.values())
