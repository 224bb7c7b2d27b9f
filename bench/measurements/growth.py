"""How time and memory grow: with the number of months in a run, and with the size of a month."""

import shutil
from collections.abc import Sequence
from typing import Any

from bench.ours import Platform, lake_and_raw_bytes, platform
from bench.scale import Bench, fresh, median
from bench.server import served

REPEATS = 3


def months(bench: Bench) -> dict[str, Any]:
    """Runs of 1, 3 and more months of the usual size."""
    source = bench.make_sample(bench.many)
    with (
        served(source) as publisher,
        platform(bench.work / "home", fresh(bench.work / "ours"), publisher) as ours,
    ):
        points = [_point(bench, ours, n, n * bench.rows) for n in bench.month_counts]
    shutil.rmtree(bench.work / "ours")
    return {"points": points, **_slopes(points)}


def rows(bench: Bench) -> dict[str, Any]:
    """Runs of one month of 3 million rows and more."""
    points = []
    for size in bench.month_sizes:
        with (
            served(bench.make_sample(1, size)) as publisher,
            platform(bench.work / "home", fresh(bench.work / "ours"), publisher) as ours,
        ):
            points.append(_point(bench, ours, 1, size))
        shutil.rmtree(bench.work / "ours")
    return {"points": points, **_slopes(points)}


def _point(bench: Bench, ours: Platform, count: int, total: int) -> dict[str, Any]:
    point: dict[str, Any] = {
        "months": count,
        "rows": total,
        "from_launch": [],
        "from_start": [],
        "largest_mb": [],
        "together_mb": [],
    }
    for _ in range(REPEATS):
        fresh(ours.data)
        times, memory = ours.ingest(count)
        point["from_launch"].append(round(times.from_launch, 3))
        point["from_start"].append(round(times.from_start, 3))
        point["largest_mb"].append(round(memory.largest, 1))
        point["together_mb"].append(round(memory.together, 1))
    point["lake_bytes"], point["raw_bytes"] = lake_and_raw_bytes(ours.data)
    bench.say(
        f"{count} months, {total:,} rows: {median(point['from_start']):.1f} s, "
        f"{median(point['largest_mb']):.0f} MB"
    )
    return point


def _slopes(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Least squares through the medians: what a million rows more costs, and what a run costs."""
    million_rows = [point["rows"] / 1e6 for point in points]
    seconds, fixed = line(million_rows, [median(p["from_start"]) for p in points])
    memory, _ = line(million_rows, [median(p["largest_mb"]) for p in points])
    return {
        "seconds_a_million_rows": round(seconds, 4),
        "seconds_fixed": round(fixed, 3),
        "mb_a_million_rows": round(memory, 3),
    }


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the line of least squares."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    return slope, mean_y - slope * mean_x
