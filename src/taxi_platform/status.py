"""A running instance at a look: locations, assets, what starts runs, and what went wrong."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from taxi_platform.graphql import GraphQL

RECENT_SECONDS = 24 * 3600
FAILURES_SHOWN = 10

_QUERY = """query ($since: Float!, $limit: Int!) {
  assetNodes { isMaterializable groupName assetKey { path } repository { location { name } }
    partitionStats { numPartitions numMaterialized numMaterializing numFailed }
    assetMaterializations(limit: 1) { timestamp } }
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name sensorState { status ticks(limit: 1) {
      timestamp status error { message } } } }
    schedules { name scheduleState { status ticks(limit: 1) {
      timestamp status error { message } } } } } } }
  failed: runsOrError(filter: { statuses: [FAILURE], updatedAfter: $since }, limit: $limit) {
    ... on Runs { results { runId jobName endTime
      repositoryOrigin { repositoryLocationName } } } }
  going: runsOrError(filter: { statuses: [QUEUED, STARTING, STARTED] }) {
    ... on Runs { results { runId status } } } }"""


def show(graphql: GraphQL, console: Console) -> bool:
    """Print what there is to know; whether nothing needs anybody's attention."""
    now = time.time()
    found = graphql.ask(_QUERY, since=now - RECENT_SECONDS, limit=FAILURES_SHOWN)
    console.print(_assets(found["assetNodes"], now))
    console.print(_starters(found["repositoriesOrError"]["nodes"], now))
    going = found["going"]["results"]
    queued = sum(run["status"] == "QUEUED" for run in going)
    console.print(f"{len(going) - queued} runs are going, {queued} are queued.")
    problems = [
        *_locations(graphql),
        *_failed_ticks(found["repositoriesOrError"]["nodes"], now),
        *_failed_runs(graphql, found["failed"]["results"], now),
    ]
    for problem in problems:
        console.print(f"[red]✗[/] {problem}", highlight=False, soft_wrap=True)
    if not problems:
        console.print("[green]✓[/] Locations are loaded; no run and no tick failed in 24 hours.")
    return not problems


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


def _locations(graphql: GraphQL) -> Iterator[str]:
    for name, error in graphql.location_errors().items():
        if error:
            yield f"location {name}: {error}"


def _failed_ticks(repositories: list[dict[str, Any]], now: float) -> Iterator[str]:
    for location, name, state in _states(repositories):
        for tick in state["ticks"]:
            if tick["status"] == "FAILURE" and tick["timestamp"] > now - RECENT_SECONDS:
                reason = tick["error"]["message"].strip() if tick["error"] else "no reason known"
                yield f"{name} of {location}, {_ago(tick['timestamp'], now)}: {reason}"


def _failed_runs(graphql: GraphQL, runs: list[dict[str, Any]], now: float) -> Iterator[str]:
    for run in runs:
        origin = run["repositoryOrigin"]
        location = origin["repositoryLocationName"] if origin else "unknown location"
        yield (
            f"{run['jobName']} of {location}, {_ago(run['endTime'] or now, now)}: "
            f"{graphql.url}/runs/{run['runId']}\n  {graphql.run_failure(run['runId'])}"
        )


def _ago(moment: float, now: float) -> str:
    """A moment for people: how long ago, or its day."""
    seconds = max(0, now - moment)
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
