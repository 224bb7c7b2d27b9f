"""Time and memory of a run by its number of months, and by the rows of a month."""

import shutil
from collections.abc import Sequence
from typing import Any

from bench.ours import Platform, lake_and_raw_bytes, start_platform
from bench.scale import Bench, empty_folder, median
from bench.server import serve_files

REPEATS = 3


def measure_months(bench: Bench) -> dict[str, Any]:
    """Measure runs of 1, 3 and more months of the same size."""
    source = bench.make_sample(bench.months)
    with (
        serve_files(source) as publisher,
        start_platform(bench.work / "home", empty_folder(bench.work / "ours"), publisher) as ours,
    ):
        points = [_point(bench, ours, n, n * bench.rows) for n in bench.month_counts]
    shutil.rmtree(bench.work / "ours")
    return {"points": points, **_slopes(points)}


def measure_rows(bench: Bench) -> dict[str, Any]:
    """Measure runs of one month of 3 million rows and more."""
    points = []
    data = bench.work / "ours"
    for size in bench.month_sizes:
        with (
            serve_files(bench.make_sample(1, size)) as publisher,
            start_platform(bench.work / "home", empty_folder(data), publisher) as ours,
        ):
            points.append(_point(bench, ours, 1, size))
        shutil.rmtree(data)
    return {"points": points, **_slopes(points)}


def _point(bench: Bench, ours: Platform, count: int, total: int) -> dict[str, Any]:
    point: dict[str, Any] = {
        "months": count,
        "rows": total,
        "from_launch": [],
        "from_start": [],
        "largest_mb": [],
        "total_mb": [],
    }
    for _ in range(REPEATS):
        empty_folder(ours.data)
        times, memory = ours.ingest(count)
        point["from_launch"].append(round(times.from_launch, 3))
        point["from_start"].append(round(times.from_start, 3))
        point["largest_mb"].append(round(memory.largest, 1))
        point["total_mb"].append(round(memory.total, 1))
    point["lake_bytes"], point["raw_bytes"] = lake_and_raw_bytes(ours.data)
    bench.log(
        f"{count} months, {total:,} rows: {median(point['from_start']):.1f} s, "
        f"{median(point['largest_mb']):.0f} MB"
    )
    return point


def _slopes(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Fit lines to the medians: the cost of a million rows more, and the fixed cost of a run."""
    million_rows = [point["rows"] / 1e6 for point in points]
    seconds, fixed = line(million_rows, [median(p["from_start"]) for p in points])
    memory, _ = line(million_rows, [median(p["largest_mb"]) for p in points])
    return {
        "seconds_per_million_rows": round(seconds, 4),
        "seconds_fixed": round(fixed, 3),
        "mb_per_million_rows": round(memory, 3),
    }


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the least squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    return slope, mean_y - slope * mean_x
