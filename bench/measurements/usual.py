"""Six months with the usual set-up, the platform, and the bare script.

Both platforms run a backfill, ours a single run as well. The bare script shows how many times as
fast as the usual set-up a platform without any overhead would be on this machine.
"""

import shutil
from typing import Any

from bench.ours import TRIPS, start_platform
from bench.processes import peak_memory
from bench.rivals import count_usual_rows, run_bare_script, start_usual_setup
from bench.runs import Backfill, BenchError, run_backfill
from bench.scale import USUAL_MONTHS, Bench, empty_folder, partition_keys
from bench.server import serve_files

REPEATS = {"quick": 1, "full": 3}
ENOUGH_SECONDS = 180  # a longer backfill is not repeated


def measure_usual_setup(bench: Bench) -> dict[str, Any]:
    """Measure the three in turn; the platforms start empty each time."""
    result: dict[str, Any] = {
        "months": USUAL_MONTHS,
        "rows": USUAL_MONTHS * bench.rows,
        "usual": [],
        "ours_backfill": [],
        "ours_run": {"from_launch": [], "from_start": []},
        "bare": {"seconds": []},
    }
    keys = partition_keys(USUAL_MONTHS)
    with serve_files(bench.make_sample(USUAL_MONTHS)) as publisher:
        for repeat in range(REPEATS[bench.mode]):
            folder = bench.work / "usual"
            with (
                start_usual_setup(folder, publisher) as (graphql, process),
                peak_memory(process, only_new=True) as memory,
            ):
                done = run_backfill(graphql, TRIPS.assets, keys)
            rows = count_usual_rows(folder)
            if rows != USUAL_MONTHS * bench.rows and done.status == "COMPLETED_SUCCESS":
                raise BenchError(
                    f"the usual set-up has {rows:,} rows, expected {USUAL_MONTHS * bench.rows:,}"
                )
            result["usual"].append(
                {**_times(done), "rows": rows, "total_mb": round(memory.total, 1)}
            )
            _run_ours(bench, publisher, result)
            seconds, _ = run_bare_script(bench.work / "bare", publisher, USUAL_MONTHS)
            result["bare"]["seconds"].append(round(seconds, 3))
            bench.log(
                f"six months, {repeat + 1}: usual set-up {done.to_last_run:.1f} s "
                f"({done.status}), ours {result['ours_run']['from_launch'][-1]:.1f} s, "
                f"bare script {seconds:.1f} s"
            )
            shutil.rmtree(folder)
            shutil.rmtree(bench.work / "bare")
            if done.to_last_run > ENOUGH_SECONDS:
                break
    return result


def _run_ours(bench: Bench, publisher: str, result: dict[str, Any]) -> None:
    data = bench.work / "ours"
    with start_platform(bench.work / "home", empty_folder(data), publisher) as ours:
        times, _ = ours.ingest(USUAL_MONTHS)
        result["ours_run"]["from_launch"].append(round(times.from_launch, 3))
        result["ours_run"]["from_start"].append(round(times.from_start, 3))
        # Without its files and its lake, the platform fetches and loads all months again.
        empty_folder(data)
        done = run_backfill(ours.instance.graphql, TRIPS.assets, partition_keys(USUAL_MONTHS))
        result["ours_backfill"].append(_times(done))
    shutil.rmtree(data)


def _times(done: Backfill) -> dict[str, Any]:
    return {
        "status": done.status,
        "runs": len(done.runs),
        "failed_runs": sum(run.status != "SUCCESS" for run in done.runs),
        "to_last_run": round(done.to_last_run, 3),
        "to_completion": round(done.to_completion, 3),
        "in_runs": round(done.in_runs, 3),
    }
