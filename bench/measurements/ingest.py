"""Months from the publisher to the lake: a run of the platform against the bare script."""

import shutil
from typing import Any

from bench.ours import lake_and_raw_bytes, start_platform
from bench.rivals import check_equal, run_bare_script
from bench.scale import Bench, empty_folder
from bench.server import serve_files

REPEATS = 3


def measure_ingest(bench: Bench) -> dict[str, Any]:
    """Load all months of this mode."""
    return _measure(bench, bench.months, bench.rows)


def measure_large_months(bench: Bench) -> dict[str, Any]:
    """Load a few months of the size of TLC's largest."""
    return _measure(bench, bench.large_months, bench.large_rows)


def _measure(bench: Bench, months: int, rows: int) -> dict[str, Any]:
    """Load months of some rows each, alternating between the two.

    The platform does not run during the script: its idle daemon would slow the script.
    """
    result: dict[str, Any] = {
        "months": months,
        "rows": months * rows,
        "ours": {"from_launch": [], "from_start": [], "largest_mb": [], "total_mb": []},
        "bare": {"seconds": [], "largest_mb": []},
    }
    ours_data, bare_data = bench.work / "ours", bench.work / "bare"
    with serve_files(bench.make_sample(months, rows)) as publisher:
        for repeat in range(REPEATS):
            with start_platform(bench.work / "home", empty_folder(ours_data), publisher) as ours:
                times, memory = ours.ingest(months)
            for name, value in (
                ("from_launch", times.from_launch),
                ("from_start", times.from_start),
                ("largest_mb", memory.largest),
                ("total_mb", memory.total),
            ):
                result["ours"][name].append(round(value, 3))
            seconds, bare_memory = run_bare_script(bare_data, publisher, months)
            result["bare"]["seconds"].append(round(seconds, 3))
            result["bare"]["largest_mb"].append(round(bare_memory.largest, 1))
            bench.log(
                f"{months} × {rows:,} rows, {repeat + 1} of {REPEATS}: ours "
                f"{times.from_launch:.1f} s ({times.from_start:.1f} s without the start), "
                f"bare script {seconds:.1f} s"
            )
    check_equal(ours_data, bare_data)
    result["lake_bytes"], result["raw_bytes"] = lake_and_raw_bytes(ours_data)
    shutil.rmtree(ours_data)
    shutil.rmtree(bare_data)
    return result
