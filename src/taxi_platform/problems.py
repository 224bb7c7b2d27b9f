"""What went wrong in any location: failed runs, checks and ticks; a location that does not load."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from taxi_platform.graphql import GraphQL

RUNS_AT_ONCE = 100
CHECKS_AT_ONCE = 50

_FAILED_RUNS = """query ($since: Float!, $limit: Int!, $cursor: String) {
  runsOrError(filter: { statuses: [FAILURE], updatedAfter: $since }, limit: $limit,
              cursor: $cursor) {
    ... on Runs { results { runId jobName endTime tags { key value }
      repositoryOrigin { repositoryLocationName } } }
    ... on PythonError { message } } }"""

_CHECKS = """{ assetNodes { assetKey { path } repository { location { name } }
  assetChecksOrError { ... on AssetChecks { checks { name } } } } }"""

_CHECK = """check%d: assetCheckExecutions(assetKey: $key%d, checkName: $name%d, limit: %d) {
  runId status evaluation { timestamp severity description } }"""

_FAILED_TICKS = """query ($since: Float!) {
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name sensorState { ticks(afterTimestamp: $since, statuses: [FAILURE]) {
      timestamp error { message causes { message } } } } }
    schedules { name scheduleState { ticks(afterTimestamp: $since, statuses: [FAILURE]) {
      timestamp error { message causes { message } } } } } } } } }"""


@dataclass(frozen=True)
class Problem:
    """A failure, or repeated failures of one thing.

    key:         the same at the next look
    first, last: seconds since 1970; of one failure the same; of a location that does not load, 0
    path:        of its page in the UI
    """

    key: str
    kind: Literal["run", "check", "schedule", "sensor", "location"]
    severity: Literal["error", "warning"]
    what: str
    location: str
    reason: str
    path: str
    first: float = 0.0
    last: float = 0.0


def find_problems(graphql: GraphQL, since: float) -> list[Problem]:
    """The problems since a moment, oldest first. Raises as `GraphQL.ask`."""
    found = [
        *locations_not_loaded(graphql),
        *failed_runs(graphql, since),
        *failed_checks(graphql, since),
        *failed_ticks(graphql, since),
    ]
    return sorted(found, key=lambda problem: problem.first)


def locations_not_loaded(graphql: GraphQL) -> Iterator[Problem]:
    """Locations with an error; one that is just being loaded has none."""
    for name, error in graphql.location_errors().items():
        if error and error != "loading":
            yield Problem(
                key=f"location {name}",
                kind="location",
                severity="error",
                what=f"location {name} does not load",
                location=name,
                reason=error.strip(),
                path="/deployment/locations",
            )


def failed_runs(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Runs that ended as failed after a moment."""
    cursor = None
    while True:
        runs = graphql.ask(_FAILED_RUNS, since=since, limit=RUNS_AT_ONCE, cursor=cursor)[
            "runsOrError"
        ]["results"]
        for run in runs:
            # A run that ended before is found as well when a tag was put on it since.
            if (run["endTime"] or 0) > since:
                yield _failed_run(graphql, run)
        if len(runs) < RUNS_AT_ONCE:
            return
        cursor = runs[-1]["runId"]


def _failed_run(graphql: GraphQL, run: dict[str, Any]) -> Problem:
    run_id, origin = run["runId"], run["repositoryOrigin"]
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    reason = graphql.run_failure(run_id)
    if tags.get("dagster/will_retry") == "true":
        reason += "\nIt is tried once more."
    return Problem(
        key=f"run {run_id}",
        kind="run",
        severity="error",
        what=f"{_run_name(run['jobName'], tags)} failed",
        location=origin["repositoryLocationName"] if origin else "unknown",
        reason=reason,
        path=f"/runs/{run_id}",
        first=run["endTime"],
        last=run["endTime"],
    )


def _run_name(job: str, tags: dict[str, str]) -> str:
    name = "run of assets" if job.startswith("__") else job
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end")
    return name + (f" {first}" if first else "") + (f" to {last}" if last else "")


def failed_checks(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Evaluations of asset checks that did not pass after a moment."""
    checks = [
        (node["repository"]["location"]["name"], node["assetKey"]["path"], check["name"])
        for node in graphql.ask(_CHECKS)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    ]
    if not checks:
        return
    numbers = range(len(checks))
    declared = ", ".join(f"$key{n}: AssetKeyInput!, $name{n}: String!" for n in numbers)
    fields = "\n".join(_CHECK % (n, n, n, CHECKS_AT_ONCE) for n in numbers)
    variables = {
        f"{variable}{n}": value
        for n, (_, path, name) in enumerate(checks)
        for variable, value in (("key", {"path": path}), ("name", name))
    }
    answer = graphql.ask(f"query ({declared}) {{ {fields} }}", **variables)
    for n, (location, path, name) in enumerate(checks):
        for execution in answer[f"check{n}"]:
            evaluation = execution["evaluation"]
            if execution["status"] == "FAILED" and evaluation and (evaluation["timestamp"] > since):
                yield _failed_check(location, path, name, execution["runId"], evaluation)


def _failed_check(
    location: str, path: list[str], name: str, run_id: str, evaluation: dict[str, Any]
) -> Problem:
    asset = "/".join(path)
    return Problem(
        key=f"check {asset} {name} {run_id} {evaluation['timestamp']}",
        kind="check",
        severity="error" if evaluation["severity"] == "ERROR" else "warning",
        what=f"check {name} of {asset} did not pass",
        location=location,
        reason=evaluation["description"] or "The check says no more.",
        path=f"/assets/{quote(asset)}?{urlencode({'view': 'checks', 'checkDetail': name})}",
        first=evaluation["timestamp"],
        last=evaluation["timestamp"],
    )


def failed_ticks(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Schedules and sensors, those of automation too, with ticks that failed after a moment."""
    repositories = graphql.ask(_FAILED_TICKS, since=since)["repositoriesOrError"]["nodes"]
    for repository in repositories:
        location = repository["location"]["name"]
        for sensor in repository["sensors"]:
            yield from _failed_starter("sensor", location, sensor, sensor["sensorState"]["ticks"])
        for schedule in repository["schedules"]:
            ticks = schedule["scheduleState"]["ticks"]
            yield from _failed_starter("schedule", location, schedule, ticks)


def _failed_starter(
    kind: Literal["schedule", "sensor"],
    location: str,
    starter: dict[str, Any],
    ticks: list[dict[str, Any]],
) -> Iterator[Problem]:
    """A starter with its failed ticks, newest first."""
    if not ticks:
        return
    name, error = starter["name"], ticks[0]["error"]
    causes = (error or {}).get("causes") or [error or {"message": "no reason was recorded"}]
    count = len(ticks)
    yield Problem(
        key=f"{kind} {location} {name}",
        kind=kind,
        severity="error",
        what=f"{kind} {name} failed" + (f", {count} times" if count > 1 else ""),
        location=location,
        reason=causes[-1]["message"].strip(),
        path=f"/locations/{location}/{kind}s/{name}",
        first=ticks[-1]["timestamp"],
        last=ticks[0]["timestamp"],
    )
