"""A running instance at a look: locations, assets, what starts runs, and what went wrong."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from taxi_platform.graphql import GraphQL
from taxi_platform.problems import find_problems

RECENT_SECONDS = 24 * 3600
PROBLEMS_SHOWN = 20

_QUERY = """{
  assetNodes { isMaterializable groupName assetKey { path } repository { location { name } }
    partitionStats { numPartitions numMaterialized numMaterializing numFailed }
    assetMaterializations(limit: 1) { timestamp } }
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name sensorState { status ticks(limit: 1) { timestamp } } }
    schedules { name scheduleState { status ticks(limit: 1) { timestamp } } } } } }
  going: runsOrError(filter: { statuses: [QUEUED, STARTING, STARTED] }) {
    ... on Runs { results { status allPools } } } }"""


def show(graphql: GraphQL, console: Console) -> bool:
    """Print what there is to know; whether nothing needs anybody's attention."""
    now = time.time()
    found = graphql.ask(_QUERY)
    console.print(_assets(found["assetNodes"], now))
    console.print(_starters(found["repositoriesOrError"]["nodes"], now))
    console.print(_runs(found["going"]["results"]))
    problems = find_problems(graphql, now - RECENT_SECONDS)
    for problem in problems[-PROBLEMS_SHOWN:]:
        mark = "[red]✗[/]" if problem.severity == "error" else "[yellow]![/]"
        when = f", {_ago(problem.last, now)}" if problem.last else ""
        console.print(
            f"{mark} {problem.what} in {problem.location}{when}: {graphql.url}{problem.path}\n"
            f"  {problem.reason}",
            highlight=False,
            soft_wrap=True,
        )
    if len(problems) > PROBLEMS_SHOWN:
        console.print(f"and {len(problems) - PROBLEMS_SHOWN} more before these")
    if any(problem.severity == "error" for problem in problems):
        return False
    console.print(
        "[green]✓[/] Locations are loaded; no run, check or tick ended with an error in 24 hours."
    )
    return True


def _runs(going: list[dict[str, Any]]) -> str:
    queued = [run for run in going if run["status"] == "QUEUED"]
    pools = sorted({pool for run in queued for pool in run["allPools"] or []})
    return f"{len(going) - len(queued)} runs are going, {len(queued)} are queued" + (
        f", some in the pools {', '.join(pools)}." if pools else "."
    )


def _assets(nodes: list[dict[str, Any]], now: float) -> Table:
    table = Table("asset", "location", "partitions", "failed", "last made")
    for column in table.columns[2:]:
        column.justify = "right"
    made = [node for node in nodes if node["isMaterializable"]]
    for node in sorted(made, key=lambda n: (n["repository"]["location"]["name"], n["groupName"])):
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


def _starters(repositories: list[dict[str, Any]], now: float) -> Table:
    table = Table("sensor or schedule", "location", "state", "last look")
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


def _ago(moment: float, now: float) -> str:
    """A moment for people: how long ago, or its day."""
    seconds = max(0, now - moment)
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
