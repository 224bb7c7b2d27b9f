"""Six months by the usual set-up, by the platform, and by the bare script.

Both platforms are asked for a backfill, ours also for one run. The bare script tells how many times
faster than the usual set-up anything could be that writes this Parquet on this machine.
"""

import shutil
from typing import Any

from bench.ours import TRIPS, platform
from bench.processes import peak_memory
from bench.rivals import run_bare, usual_rows, usual_setup
from bench.runs import Backfill, BenchError, backfill
from bench.scale import USUAL_MONTHS, Bench, fresh, partition_keys
from bench.server import served

REPEATS = {"quick": 1, "full": 3}
ENOUGH_SECONDS = 180  # what takes longer is not repeated


def beside_ours(bench: Bench) -> dict[str, Any]:
    """In turn, each started anew; from the request of a backfill to its end."""
    result: dict[str, Any] = {
        "months": USUAL_MONTHS,
        "rows": USUAL_MONTHS * bench.rows,
        "usual": [],
        "ours_backfill": [],
        "ours_run": {"from_launch": [], "from_start": []},
        "bare": {"seconds": []},
    }
    keys = partition_keys(USUAL_MONTHS)
    with served(bench.make_sample(USUAL_MONTHS)) as publisher:
        for repeat in range(REPEATS[bench.mode]):
            folder = bench.work / "usual"
            with (
                usual_setup(folder, publisher) as (graphql, process),
                peak_memory(process, only_new=True) as memory,
            ):
                done = backfill(graphql, TRIPS.assets, keys)
            rows = usual_rows(folder)
            if rows != USUAL_MONTHS * bench.rows and done.status == "COMPLETED_SUCCESS":
                raise BenchError(f"the usual set-up has {rows:,} rows")
            result["usual"].append(
                {**_times(done), "rows": rows, "together_mb": round(memory.together, 1)}
            )
            _ours(bench, publisher, result)
            seconds, _ = run_bare(bench.work / "bare", publisher, USUAL_MONTHS)
            result["bare"]["seconds"].append(round(seconds, 3))
            bench.say(
                f"six months, {repeat + 1}: usual set-up {done.to_last_run:.1f} s "
                f"({done.status}), ours {result['ours_run']['from_launch'][-1]:.1f} s, "
                f"bare script {seconds:.1f} s"
            )
            shutil.rmtree(folder)
            shutil.rmtree(bench.work / "bare")
            if done.to_last_run > ENOUGH_SECONDS:
                break
    return result


def _ours(bench: Bench, publisher: str, result: dict[str, Any]) -> None:
    data = bench.work / "ours"
    with platform(bench.work / "home", fresh(data), publisher) as ours:
        times, _ = ours.ingest(USUAL_MONTHS)
        result["ours_run"]["from_launch"].append(round(times.from_launch, 3))
        result["ours_run"]["from_start"].append(round(times.from_start, 3))
        # Without its files and its lake, the platform fetches and loads everything once more.
        fresh(data)
        done = backfill(ours.instance.graphql, TRIPS.assets, partition_keys(USUAL_MONTHS))
        result["ours_backfill"].append(_times(done))
    shutil.rmtree(data)


def _times(done: Backfill) -> dict[str, Any]:
    return {
        "status": done.status,
        "runs": len(done.runs),
        "failed_runs": sum(run.status != "SUCCESS" for run in done.runs),
        "to_last_run": round(done.to_last_run, 3),
        "to_completion": round(done.to_completion, 3),
        "of_the_runs": round(done.of_the_runs, 3),
    }
