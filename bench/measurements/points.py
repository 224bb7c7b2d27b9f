"""A month of 2009, whose trips have points, against a later one of the same size with zones."""

import shutil
from datetime import date
from typing import Any

from bench.ours import TRIPS, ZONES, start_platform
from bench.runs import partition_range
from bench.scale import Bench, empty_folder, median
from bench.server import serve_files
from taxi_platform.sample import write_sample

REPEATS = 3
MONTHS = {"with_points": date(2009, 6, 1), "with_zones": date(2011, 6, 1)}


def measure_points(bench: Bench) -> dict[str, Any]:
    """Measure runs that fetch and load one of the two months, alternating."""
    result: dict[str, Any] = {"rows": bench.points_rows}
    source = bench.source(bench.points_rows)
    write_sample(source, list(MONTHS.values()), bench.points_rows)
    data = bench.work / "ours"
    start_date = "2009-01-01"
    home = bench.work / "home"
    with (
        serve_files(source) as publisher,
        start_platform(home, empty_folder(data), publisher, TAXI_START_DATE=start_date) as ours,
    ):
        for name, month in MONTHS.items():
            tags = partition_range([month.isoformat()])
            ours.run("ingestion", ZONES, tags=tags)
            result[name] = {"from_start": [], "largest_mb": []}
        for _ in range(REPEATS):
            for name, month in MONTHS.items():
                for folder in ("raw", "staging/trips", "staging/trip_days"):
                    empty_folder(data / folder)
                tags = partition_range([month.isoformat()])
                times, memory = ours.run("ingestion", TRIPS, tags=tags)
                result[name]["from_start"].append(round(times.from_start, 3))
                result[name]["largest_mb"].append(round(memory.largest, 1))
    shutil.rmtree(data)
    seconds = {name: median(result[name]["from_start"]) for name in MONTHS}
    bench.log(
        f"{bench.points_rows:,} rows with points {seconds['with_points']:.1f} s, "
        f"with zones {seconds['with_zones']:.1f} s"
    )
    return result
