"""Shows the status of a running instance: assets, sensors, runs, sources and problems."""

import time
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taxi_platform.graphql import GraphQL
from taxi_platform.problems import Problem, find_problems, summarize
from taxi_shared import source_status
from taxi_shared.services import SERVICES

RECENT_SECONDS = 24 * 3600
PROBLEMS_SHOWN = 20
CLOCKS_DIFFER_SECONDS = 60
CHECK = "source_reachable"

_FILES = {service.name: service.file_asset.path for service in SERVICES}
_KEYS = {name: {"path": path} for name, path in _FILES.items()}
_VARIABLES = " ".join(f"${name}: AssetKeyInput!" for name in _FILES)
_CHECKS = " ".join(
    f"{name}: assetCheckExecutions(assetKey: ${name}, checkName: $check, limit: 3) "
    "{ evaluation { timestamp description } }"
    for name in _FILES
)
# With statuses, Dagster finds the ticks of the sensor or schedule that runs now. Without, it finds
# those under the address that its code server had at its first start.
TICKS = ["STARTED", "SKIPPED", "SUCCESS", "FAILURE"]
_QUERY = (
    f"query ({_VARIABLES} $check: String!, $ticks: [InstigationTickStatus!]) {{ {_CHECKS} "
    """assetNodes { isMaterializable groupName assetKey { path } repository { location { name } }
    partitionStats { numPartitions numMaterialized numMaterializing numFailed }
    assetMaterializations(limit: 1) { timestamp } }
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name sensorState { status ticks(limit: 1, statuses: $ticks) { timestamp } } }
    schedules { name scheduleState {
      status ticks(limit: 1, statuses: $ticks) { timestamp } } } } } }
  unfinished: runsOrError(filter: { statuses: [QUEUED, STARTING, STARTED] }) {
    ... on Runs { results { status allPools } } } }"""
)


def show(graphql: GraphQL, console: Console) -> bool:
    """Print the status of an instance; returns False if an error needs attention."""
    now = time.time()
    found = graphql.ask(_QUERY, check=CHECK, ticks=TICKS, **_KEYS)
    console.print(f"Instance at {graphql.url}", highlight=False)
    console.print(_assets(found["assetNodes"], now))
    console.print(_instigators(found["repositoriesOrError"]["nodes"], now))
    console.print(_runs(found["unfinished"]["results"]))
    problems = summarize(graphql, find_problems(graphql, now - RECENT_SECONDS))
    failing = {problem.subject for problem in problems if not problem.fixed}
    for line in _sources(found, failing, now):
        console.print(line, highlight=False, soft_wrap=True)
    for problem in problems[-PROBLEMS_SHOWN:]:
        console.print(_format_problem(problem, graphql.url, now), highlight=False, soft_wrap=True)
    if len(problems) > PROBLEMS_SHOWN:
        console.print(f"and {len(problems) - PROBLEMS_SHOWN} more before these")
    if any(problem.severity == "error" and not problem.fixed for problem in problems):
        return False
    console.print(
        "[green]✓[/] Locations are loaded; every run, check and tick that failed in the last 24 "
        "hours has succeeded since."
        if any(problem.severity == "error" for problem in problems)
        else "[green]✓[/] Locations are loaded; no run, check or tick failed in the last 24 hours."
    )
    return True


def _format_problem(problem: Problem, url: str, now: float) -> str:
    """A problem in one line, and the reason in a second line unless it is fixed."""
    where = f"{escape(problem.what)} in {problem.location}"
    if problem.count > 1:
        when = f", {problem.count} times since {_moment(problem.first)}"
    else:
        when = f", {_ago(problem.last, now)}" if problem.last else ""
    link = f"{url}{problem.path}"
    if problem.fixed:
        return f"[green]✓[/] {where}{when}; fixed since {_moment(problem.fixed)}: {link}"
    mark = "[red]✗[/]" if problem.severity == "error" else "[yellow]![/]"
    return f"{mark} {where}{when}: {link}\n  {escape(problem.reason)}"


def _sources(found: Mapping[str, Any], failing: Set[str], now: float) -> Iterator[str]:
    """A line per source; a failing source is among the problems instead."""
    served = {node["assetKey"]["path"][-1] for node in found["assetNodes"]}
    for service, (asset,) in _FILES.items():
        if asset not in served or f"check {asset} {CHECK}" in failing:
            continue
        evaluations = [each["evaluation"] for each in found[service] if each["evaluation"]]
        if evaluations:
            text, when = evaluations[0]["description"], evaluations[0]["timestamp"]
            said = f"{escape(text or 'It can be reached.')} ({_ago(when, now)})"
        else:
            said = "not checked yet; the sensor is off or has not run"
        yield f"Source of {service} trips: {said}"


def _runs(unfinished: list[dict[str, Any]]) -> str:
    queued = [run for run in unfinished if run["status"] == "QUEUED"]
    pools = sorted({pool for run in queued for pool in run["allPools"] or []})
    return f"{len(unfinished) - len(queued)} runs in progress, {len(queued)} queued" + (
        f", some in the pools {', '.join(pools)}." if pools else "."
    )


def _assets(nodes: list[dict[str, Any]], now: float) -> Table:
    table = Table("asset", "location", "partitions", "failed", "last materialized")
    for column in table.columns[2:]:
        column.justify = "right"
    materializable = [node for node in nodes if node["isMaterializable"]]
    for node in sorted(
        materializable, key=lambda n: (n["repository"]["location"]["name"], n["groupName"])
    ):
        stats = node["partitionStats"]
        latest = node["assetMaterializations"]
        table.add_row(
            node["assetKey"]["path"][-1],
            node["repository"]["location"]["name"],
            f"{stats['numMaterialized']:,} of {stats['numPartitions']:,}" if stats else "",
            f"[red]{stats['numFailed']:,}[/]" if stats and stats["numFailed"] else "",
            _ago(float(latest[0]["timestamp"]) / 1000, now) if latest else "never",
        )
    return table


def _instigators(repositories: list[dict[str, Any]], now: float) -> Table:
    table = Table("sensor or schedule", "location", "state", "last tick")
    table.columns[-1].justify = "right"
    for location, name, state in _states(repositories):
        ticks = state["ticks"]
        table.add_row(
            name,
            location,
            "on" if state["status"] == "RUNNING" else "off",
            _ago(ticks[0]["timestamp"], now) if ticks else "never",
        )
    return table


def _states(repositories: list[dict[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for repository in sorted(repositories, key=lambda r: str(r["location"]["name"])):
        location = repository["location"]["name"]
        for sensor in repository["sensors"]:
            yield location, sensor["name"], sensor["sensorState"]
        for schedule in repository["schedules"]:
            yield location, schedule["name"], schedule["scheduleState"]


def _moment(seconds: float) -> str:
    """A time of the last days, for people."""
    return source_status.format_time(_utc(seconds), datetime.now(UTC))


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _ago(moment: float, now: float) -> str:
    """How long ago a time was, or its date if it is of other days."""
    seconds = now - moment
    if seconds < -CLOCKS_DIFFER_SECONDS:
        return f"{_utc(moment):%Y-%m-%d}, in the future"
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{max(0, seconds) / length:.0f} {unit} ago"
    return f"{_utc(moment):%Y-%m-%d}"
