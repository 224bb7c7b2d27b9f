"""Months from the publisher into the lake: the platform's run beside the bare script."""

import shutil
from typing import Any

from bench.ours import lake_and_raw_bytes, platform
from bench.rivals import differences, run_bare
from bench.runs import BenchError
from bench.scale import Bench, fresh
from bench.server import served

REPEATS = 3


def beside_bare(bench: Bench) -> dict[str, Any]:
    """All months of this mode, the two in turn.

    The platform is not running while the script is: its idle daemon would slow the script.
    """
    months = bench.many
    result: dict[str, Any] = {
        "months": months,
        "rows": months * bench.rows,
        "ours": {"from_launch": [], "from_start": [], "largest_mb": [], "together_mb": []},
        "bare": {"seconds": [], "largest_mb": []},
    }
    ours_data, bare_data = bench.work / "ours", bench.work / "bare"
    with served(bench.make_sample(months)) as publisher:
        for repeat in range(REPEATS):
            with platform(bench.work / "home", fresh(ours_data), publisher) as ours:
                times, memory = ours.ingest(months)
            for name, value in (
                ("from_launch", times.from_launch),
                ("from_start", times.from_start),
                ("largest_mb", memory.largest),
                ("together_mb", memory.together),
            ):
                result["ours"][name].append(round(value, 3))
            seconds, bare_memory = run_bare(bare_data, publisher, months)
            result["bare"]["seconds"].append(round(seconds, 3))
            result["bare"]["largest_mb"].append(round(bare_memory.largest, 1))
            bench.say(
                f"{months} months, {repeat + 1} of {REPEATS}: ours {times.from_launch:.1f} s "
                f"({times.from_start:.1f} s without the start), bare script {seconds:.1f} s"
            )
    differing = differences(ours_data, bare_data)
    if differing:
        raise BenchError("the lake and the bare script's Parquet differ:\n" + "\n".join(differing))
    result["lake_bytes"], result["raw_bytes"] = lake_and_raw_bytes(ours_data)
    shutil.rmtree(ours_data)
    shutil.rmtree(bare_data)
    return result
