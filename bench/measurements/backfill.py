"""Six months by a backfill, as the UI requests it, against the bare script."""

import shutil
from typing import Any

from bench.ours import TRIPS, start_platform
from bench.rivals import check_equal, run_bare_script
from bench.runs import BenchError, run_backfill
from bench.scale import USUAL_MONTHS, Bench, empty_folder, partition_keys
from bench.server import serve_files

REPEATS = 3


def measure_backfill(bench: Bench) -> dict[str, Any]:
    """Load the months by each in turn."""
    result: dict[str, Any] = {
        "months": USUAL_MONTHS,
        "rows": USUAL_MONTHS * bench.rows,
        **{name: [] for name in ("wait", "from_launch", "bare")},
    }
    ours_data, bare_data = bench.work / "ours", bench.work / "bare"
    with serve_files(bench.make_sample(USUAL_MONTHS)) as publisher:
        for repeat in range(REPEATS):
            with start_platform(bench.work / "home", empty_folder(ours_data), publisher) as ours:
                graphql = ours.instance.graphql
                done = run_backfill(graphql, TRIPS.assets, partition_keys(USUAL_MONTHS))
            if done.status != "COMPLETED_SUCCESS":
                raise BenchError(f"the backfill ended with {done.status}")
            seconds, _ = run_bare_script(bare_data, publisher, USUAL_MONTHS)
            for name, value in (
                ("wait", done.to_first_launch),
                ("from_launch", done.to_last_run - done.to_first_launch),
                ("bare", seconds),
            ):
                result[name].append(round(value, 3))
            bench.log(
                f"backfill of six months, {repeat + 1} of {REPEATS}: {done.to_last_run:.1f} s, "
                f"{done.to_first_launch:.1f} s of it until the launch; bare script {seconds:.1f} s"
            )
    check_equal(ours_data, bare_data)
    shutil.rmtree(ours_data)
    shutil.rmtree(bare_data)
    return result
