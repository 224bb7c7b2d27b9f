"""Problems in any location: failed runs, checks and ticks, and locations that do not load."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Literal
from urllib.parse import quote, urlencode

from taxi_platform.graphql import GraphQL

RUNS_PER_PAGE = 100
MAX_SUCCESSES = 1000
EXECUTIONS_PER_CHECK = 50

_RUNS = """query ($status: RunStatus!, $since: Float!, $limit: Int!, $cursor: String) {
  runsOrError(filter: { statuses: [$status], updatedAfter: $since }, limit: $limit,
              cursor: $cursor) {
    ... on Runs { results { runId jobName endTime tags { key value } assetSelection { path }
      repositoryOrigin { repositoryLocationName } } }
    ... on PythonError { message } } }"""

_CHECKS = """{ assetNodes { assetKey { path } repository { location { name } }
  assetChecksOrError { ... on AssetChecks { checks { name } } } } }"""

_CHECK = """check%d: assetCheckExecutions(assetKey: $key%d, checkName: $name%d, limit: %d) {
  runId status evaluation { timestamp severity description } }"""

_FAILED_TICKS = """query ($since: Float!) {
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
    sensors { name sensorState { ...Ticks } }
    schedules { name scheduleState { ...Ticks } } } } } }
fragment Ticks on InstigationState {
  ticks(afterTimestamp: $since, statuses: [FAILURE]) {
    timestamp error { message causes { message } } }
  latest: ticks(limit: 1, statuses: [SUCCESS, SKIPPED]) { timestamp } }"""


@dataclass(frozen=True)
class Problem:
    """A failure, or repeated failures of the same subject.

    key:         identifies the problem across polls
    first, last: the times of the first and the last failure, in seconds since 1970; 0 for a
                 location that does not load
    path:        the path of its page in the UI
    subject:     what failed: a job with its partitions, a check, a sensor, a schedule or a location
    count:       the number of failures
    fixed:       when the subject next succeeded, in seconds since 1970; 0 if it did not
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
    subject: str = ""
    count: int = 1
    fixed: float = 0.0

    @property
    def title(self) -> str:
        """What failed, and how often if more than once."""
        return f"{self.what}, {self.count} times" if self.count > 1 else self.what


def find_problems(graphql: GraphQL, since: float) -> list[Problem]:
    """The problems since a moment, oldest first. Raises what `GraphQL.ask` raises."""
    found = [
        *locations_not_loaded(graphql),
        *failed_runs(graphql, since),
        *failed_checks(graphql, since),
        *failed_ticks(graphql, since),
    ]
    return sorted(found, key=lambda problem: problem.first)


def summarize(graphql: GraphQL, problems: Sequence[Problem]) -> list[Problem]:
    """Merge problems by subject into the newest one, and add when it was fixed."""
    by_subject = sorted(problems, key=lambda problem: (problem.subject, problem.last))
    groups = [list(group) for _, group in groupby(by_subject, lambda problem: problem.subject)]
    merged = [
        replace(
            group[-1],
            first=group[0].first,
            count=sum(problem.count for problem in group),
        )
        for group in groups
    ]
    failed = [problem for problem in merged if problem.kind == "run"]
    succeeded = _successes(graphql, min((run.last for run in failed), default=None))
    return sorted(
        (
            replace(problem, fixed=succeeded.get(problem.subject, 0.0))
            if problem.kind == "run" and succeeded.get(problem.subject, 0.0) > problem.last
            else problem
            for problem in merged
        ),
        key=lambda problem: problem.last,
    )


def locations_not_loaded(graphql: GraphQL) -> Iterator[Problem]:
    """Locations that failed to load; one that is loading is no problem."""
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
                subject=f"location {name}",
            )


def failed_runs(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Runs that failed after a moment."""
    for run in _runs(graphql, "FAILURE", since):
        yield _failed_run(graphql, run)


def _runs(graphql: GraphQL, status: str, since: float) -> Iterator[dict[str, Any]]:
    """Runs that ended with a status after a moment, newest first."""
    cursor = None
    while True:
        runs = graphql.ask(_RUNS, status=status, since=since, limit=RUNS_PER_PAGE, cursor=cursor)[
            "runsOrError"
        ]["results"]
        # `updatedAfter` also finds a run that ended earlier and was tagged since.
        yield from (run for run in runs if (run["endTime"] or 0) > since)
        if len(runs) < RUNS_PER_PAGE:
            return
        cursor = runs[-1]["runId"]


def _successes(graphql: GraphQL, since: float | None) -> dict[str, float]:
    """The latest success per subject since a moment, of the newest `MAX_SUCCESSES` runs."""
    if since is None:
        return {}
    ended: dict[str, float] = {}
    for run in islice(_runs(graphql, "SUCCESS", since), MAX_SUCCESSES):
        subject = _run_subject(run)
        ended[subject] = max(run["endTime"], ended.get(subject, 0.0))
    return ended


def _run_subject(run: dict[str, Any]) -> str:
    """What a run is about: its location, job or assets, and partitions."""
    origin = run["repositoryOrigin"]
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assets = sorted("/".join(key["path"]) for key in run["assetSelection"] or [])
    location = origin["repositoryLocationName"] if origin else "unknown"
    name = _run_name(run["jobName"], tags)
    return f"run {location} {name} {' '.join(assets)}"


def _failed_run(graphql: GraphQL, run: dict[str, Any]) -> Problem:
    run_id, origin = run["runId"], run["repositoryOrigin"]
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    reason = graphql.run_failure(run_id)
    if tags.get("dagster/will_retry") == "true":
        reason += "\nDagster will retry it."
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
        subject=_run_subject(run),
    )


def _run_name(job: str, tags: dict[str, str]) -> str:
    name = "run of assets" if job.startswith("__") else job
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end")
    return name + (f" {first}" if first else "") + (f" to {last}" if last else "")


@dataclass(frozen=True)
class Check:
    """An asset check: its location, the path of its asset's key, and its name."""

    location: str
    asset: list[str]
    name: str


def failed_checks(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Executions of asset checks that failed after a moment."""
    checks = [
        Check(node["repository"]["location"]["name"], node["assetKey"]["path"], check["name"])
        for node in graphql.ask(_CHECKS)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    ]
    if not checks:
        return
    numbers = range(len(checks))
    declared = ", ".join(f"$key{n}: AssetKeyInput!, $name{n}: String!" for n in numbers)
    fields = "\n".join(_CHECK % (n, n, n, EXECUTIONS_PER_CHECK) for n in numbers)
    variables = {
        f"{variable}{n}": value
        for n, check in enumerate(checks)
        for variable, value in (("key", {"path": check.asset}), ("name", check.name))
    }
    answer = graphql.ask(f"query ({declared}) {{ {fields} }}", **variables)
    for n, check in enumerate(checks):
        executions = [each for each in answer[f"check{n}"] if each["evaluation"]]
        newest = executions[0] if executions else None
        fixed = (
            newest["evaluation"]["timestamp"] if newest and newest["status"] == "SUCCEEDED" else 0.0
        )
        failed = [
            _failed_check(check, each["runId"], each["evaluation"], fixed)
            for each in executions
            if each["status"] == "FAILED" and each["evaluation"]["timestamp"] > since
        ]
        yield from _merge_reports(failed)


def _failed_check(check: Check, run_id: str, evaluation: dict[str, Any], fixed: float) -> Problem:
    asset = "/".join(check.asset)
    subject = f"check {asset} {check.name}"
    return Problem(
        # A sensor reports the same check at each tick, without a run: that is one problem.
        key=f"{subject} {run_id} {evaluation['timestamp']}" if run_id else subject,
        kind="check",
        severity="error" if evaluation["severity"] == "ERROR" else "warning",
        what=f"check {check.name} of {asset} did not pass",
        location=check.location,
        reason=evaluation["description"] or "The check gives no reason.",
        path=f"/assets/{quote(asset)}?{urlencode({'view': 'checks', 'checkDetail': check.name})}",
        first=evaluation["timestamp"],
        last=evaluation["timestamp"],
        subject=subject,
        fixed=fixed,
    )


def _merge_reports(failed: Sequence[Problem]) -> Iterator[Problem]:
    """Merge those failures of a check that have no run; the failures come newest first."""
    reported = [problem for problem in failed if problem.key == problem.subject]
    if reported:
        yield replace(reported[0], first=reported[-1].first, count=len(reported))
    yield from (problem for problem in failed if problem.key != problem.subject)


def failed_ticks(graphql: GraphQL, since: float) -> Iterator[Problem]:
    """Schedules and sensors, automation included, with ticks that failed after a moment."""
    repositories = graphql.ask(_FAILED_TICKS, since=since)["repositoriesOrError"]["nodes"]
    for repository in repositories:
        location = repository["location"]["name"]
        for sensor in repository["sensors"]:
            yield from _failed_instigator("sensor", location, sensor["name"], sensor["sensorState"])
        for schedule in repository["schedules"]:
            state = schedule["scheduleState"]
            yield from _failed_instigator("schedule", location, schedule["name"], state)


def _failed_instigator(
    kind: Literal["schedule", "sensor"], location: str, name: str, state: dict[str, Any]
) -> Iterator[Problem]:
    """A schedule or sensor that failed; its ticks come newest first."""
    ticks = state["ticks"]
    if not ticks:
        return
    error, last = ticks[0]["error"], ticks[0]["timestamp"]
    causes = (error or {}).get("causes") or [error or {"message": "no reason was recorded"}]
    passed = max((tick["timestamp"] for tick in state["latest"]), default=0.0)
    yield Problem(
        key=f"{kind} {location} {name}",
        kind=kind,
        severity="error",
        what=f"{kind} {name} failed",
        location=location,
        reason=causes[-1]["message"].strip(),
        path=f"/locations/{location}/{kind}s/{name}",
        first=ticks[-1]["timestamp"],
        last=last,
        subject=f"{kind} {location} {name}",
        count=len(ticks),
        fixed=passed if passed > last else 0.0,
    )
