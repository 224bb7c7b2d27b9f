"""One week in a small and in a large lake, and all weeks in one backfill."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from bench.ours import Platform, make_lake, start_platform
from bench.runs import PARTITION, BenchError, run_backfill
from bench.scale import (
    FEW_MONTHS,
    HISTORY_FIRST,
    HISTORY_MONTHS,
    Bench,
    month_range,
    size_of,
)
from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import JobSubset
from taxi_platform.workspace import ROOT
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES

Rows = list[tuple[Any, ...]]

REPEATS = 5
QUERIES = 9
BACKFILLS = {"quick": 1, "full": 3}  # each waits for the daemon
WEEK = (date(2023, 1, 8), date(2023, 1, 15))
WEEK_SQL = ROOT / "analytics/src/analytics/sql/trips_by_week.sql"
REQUEST_SQL = ROOT / "adhoc_reports/src/adhoc_reports/sql/adhoc_request.sql"


def measure_one_week(bench: Bench) -> dict[str, Any]:
    """Measure one week's figures, a report on one week, and the zone statistics of all months."""
    sizes = {"few": FEW_MONTHS, "many": bench.months}
    return _compare(bench, sizes, {name: make_lake(bench, n) for name, n in sizes.items()})


def measure_weeks(bench: Bench) -> dict[str, Any]:
    """Measure a backfill of all full weeks of the lake, as a user requests it in the UI."""
    return _backfill_weeks(bench, make_lake(bench, bench.months), month_range(bench.months))


def measure_history(bench: Bench) -> dict[str, Any]:
    """The same with as many months as TLC has published since 2009, each with few trips."""
    rows, first = bench.history_rows, HISTORY_FIRST
    sizes = {"few": FEW_MONTHS, "many": HISTORY_MONTHS}
    lakes = {
        "few": make_lake(bench, FEW_MONTHS, rows),
        "many": make_lake(bench, HISTORY_MONTHS, rows, first),
    }
    weeks = _backfill_weeks(bench, lakes["many"], month_range(HISTORY_MONTHS, first))
    return {
        "rows": rows,
        "ingest": json.loads((lakes["many"] / "seconds.json").read_text()),
        "lake_bytes": size_of(lakes["many"] / "staging"),
        "all_weeks": weeks,
        **_compare(bench, sizes, lakes),
    }


def _compare(bench: Bench, sizes: Mapping[str, int], lakes: Mapping[str, Path]) -> dict[str, Any]:
    """Measure one week in two lakes, `few` and `many`, of these numbers of months.

    Two instances take turns. They have no daemon, so that the idle one does not slow the other.
    """
    result: dict[str, Any] = {
        name: {"months": months, "week": [], "request": [], "all": [], "largest_mb": []}
        for name, months in sizes.items()
    }
    with (
        start_platform(bench.work / "home-few", lakes["few"], runs="at once") as few,
        start_platform(bench.work / "home-many", lakes["many"], runs="at once") as many,
    ):
        for repeat in range(REPEATS):
            for name, ours in (("few", few), ("many", many)):
                _run_steps(ours, repeat, result[name])
            bench.log(f"one week with {sizes['few']} and {sizes['many']} months, {repeat + 1} of 5")
    for key, query in QUERY.items():
        for data in lakes.values():
            _time_query(query, LakeDatabase(data_root=str(data)))  # once to warm up
        times: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(QUERIES):
            for name, data in lakes.items():
                times[name].append(_time_query(query, LakeDatabase(data_root=str(data))))
        for name in lakes:
            result[name][key] = [round(seconds, 5) for seconds in times[name]]
    return result


def _backfill_weeks(bench: Bench, lake: Path, months: MonthRange) -> dict[str, Any]:
    keys = [week.isoformat() for week in months.full_weeks]
    start = months.first.isoformat()
    result: dict[str, Any] = {"weeks": len(keys), "in_run": [], "to_last_run": [], "largest_mb": []}
    with start_platform(bench.work / "home", lake, TAXI_START_DATE=start) as ours:
        for _ in range(BACKFILLS[bench.mode]):
            with ours.memory_of_runs("analytics") as memory:
                done = run_backfill(ours.instance.graphql, ["trips_by_week"], keys)
            if done.status != "COMPLETED_SUCCESS":
                raise BenchError(f"the backfill of {len(keys)} weeks ended as {done.status}")
            result["runs"] = len(done.runs)
            result["in_run"].append(round(done.in_runs, 3))
            result["to_last_run"].append(round(done.to_last_run, 3))
            result["largest_mb"].append(round(memory.largest, 1))
            bench.log(f"{len(keys)} weeks: {done.in_runs:.1f} s in {len(done.runs)} run(s)")
    return result


def _run_steps(ours: Platform, repeat: int, times: dict[str, Any]) -> None:
    week, memory_week = ours.run(
        "analytics", "weekly_update_job", tags={PARTITION: WEEK[0].isoformat()}
    )
    report = f"bench_{repeat}"
    ours.instance.graphql.add_partition("adhoc_reports", "reports", report)
    config = {
        "borough": "Manhattan",
        "start_date": WEEK[0].isoformat(),
        "end_date": WEEK[1].isoformat(),
    }
    request, memory_request = ours.run(
        "adhoc_reports",
        "adhoc_request_job",
        tags={PARTITION: report},
        run_config={"ops": {"adhoc_request": {"config": config}}},
    )
    everything, memory_all = ours.run(
        "analytics", JobSubset("manhattan_update_job", ["manhattan_stats"])
    )
    for name, run in (("week", week), ("request", request), ("all", everything)):
        times[name].append(round(sum(run.steps.values()), 4))
    peaks = (memory_week.largest, memory_request.largest, memory_all.largest)
    times["largest_mb"].append(round(max(peaks), 1))


def _week(database: LakeDatabase) -> Rows:
    values = {"start_date": WEEK[0], "end_date": WEEK[1]}
    with database.get_connection(WEEK, [TRIPS]) as con:
        return con.execute(WEEK_SQL.read_text(), values).fetchall()


def _request(database: LakeDatabase) -> Rows:
    values = {"borough": "Manhattan", "zone": "", "start_date": WEEK[0], "end_date": WEEK[1]}
    with database.get_connection(WEEK, [TRIPS, TRIP_DAYS, ZONES]) as con:
        return con.execute(REQUEST_SQL.read_text(), values).fetchall()


QUERY: dict[str, Callable[[LakeDatabase], Rows]] = {
    "week_query": _week,
    "request_query": _request,
}


def _time_query(query: Callable[[LakeDatabase], Rows], database: LakeDatabase) -> float:
    """Seconds of a query, including its connection and views."""
    begin = time.perf_counter()
    rows = query(database)
    seconds = time.perf_counter() - begin
    if not rows:
        raise BenchError(f"no trips of the week of {WEEK[0]} in {database.data_root}")
    return seconds
