"""Launch and time runs and backfills of an instance by its GraphQL API.

Times are those that Dagster recorded, in seconds since 1970, so they do not depend on polling.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from taxi_platform.graphql import FINISHED, GraphQL
from taxi_shared.ranges import range_tags

POLL_SECONDS = 0.25
DAEMON_START_SECONDS = 120
PARTITION = "dagster/partition"
BACKFILL = "dagster/backfill"


class BenchError(Exception):
    """A measured operation failed, so its time means nothing."""


@dataclass(frozen=True)
class RunTimes:
    """When a run was launched, when it started and ended, and the seconds of each step."""

    run_id: str
    status: str
    launched: float
    started: float
    ended: float
    steps: Mapping[str, float]

    @property
    def from_launch(self) -> float:
        """Seconds from the launch to the end, queue and process start included."""
        return self.ended - self.launched

    @property
    def to_start(self) -> float:
        """Seconds from the launch to the start of the run's work."""
        return self.started - self.launched

    @property
    def from_start(self) -> float:
        """Seconds from the start of the run's work to its end."""
        return self.ended - self.started


def partition_range(keys: Sequence[str]) -> dict[str, str]:
    """The tags of one run for all partitions from the first key to the last."""
    return range_tags(keys[0], keys[-1])


def wait_until(
    what: str, seconds: float, condition: Callable[[], bool], poll: float = POLL_SECONDS
) -> None:
    """Wait until a condition holds. Raises BenchError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not done after {seconds:.0f} s")
        time.sleep(poll)


def wait_for_daemons(graphql: GraphQL) -> None:
    """Wait until all required daemons of an instance are healthy."""

    def are_healthy() -> bool:
        daemons = graphql.ask(
            "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"
        )["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in daemons if daemon["required"])

    wait_until("the start of the daemons", DAEMON_START_SECONDS, are_healthy)


def wait_for_run(graphql: GraphQL, run_id: str, seconds: float = 7200) -> RunTimes:
    """Wait until a run has ended. Raises BenchError unless it succeeded."""
    wait_until(f"run {run_id}", seconds, lambda: graphql.run_status(run_id) in FINISHED, 2.0)
    times = run_times(graphql, run_id)
    if times.status != "SUCCESS":
        raise BenchError(f"run {run_id}: {times.status}\n{graphql.run_failure(run_id)}")
    return times


def run_times(graphql: GraphQL, run_id: str) -> RunTimes:
    """The times that Dagster recorded for a run."""
    run = graphql.ask(
        """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
            status creationTime
            stats { ... on RunStatsSnapshot { enqueuedTime launchTime startTime endTime } }
            stepStats { stepKey startTime endTime } } } }""",
        id=run_id,
    )["runOrError"]
    stats = run["stats"]
    launched = stats["enqueuedTime"] or stats["launchTime"] or run["creationTime"]
    return RunTimes(
        run_id,
        run["status"],
        launched,
        stats["startTime"] or launched,
        stats["endTime"] or launched,
        {
            step["stepKey"]: step["endTime"] - step["startTime"]
            for step in run["stepStats"]
            if step["startTime"] and step["endTime"]
        },
    )


@dataclass(frozen=True)
class Backfill:
    """A backfill that has ended: when it was requested and marked complete, and its runs."""

    requested: float
    completed: float
    status: str
    runs: tuple[RunTimes, ...]

    @property
    def to_last_run(self) -> float:
        """Seconds from the request to the end of the last run."""
        return max(run.ended for run in self.runs) - self.requested

    @property
    def to_first_launch(self) -> float:
        """Seconds from the request until the daemon has launched the first run."""
        return min(run.launched for run in self.runs) - self.requested

    @property
    def to_completion(self) -> float:
        """Seconds from the request until the daemon has marked the backfill complete."""
        return self.completed - self.requested

    @property
    def in_runs(self) -> float:
        """Seconds from the start of the first run to the end of the last."""
        return max(run.ended for run in self.runs) - min(run.started for run in self.runs)


def run_backfill(
    graphql: GraphQL, assets: Sequence[str], partitions: Sequence[str], seconds: float = 3600
) -> Backfill:
    """Request a backfill as the UI does, and wait until the daemon has marked it complete."""
    requested = time.time()
    answer = graphql.ask(
        """mutation ($params: LaunchBackfillParams!) {
            launchPartitionBackfill(backfillParams: $params) {
              __typename
              ... on LaunchBackfillSuccess { backfillId }
              ... on PythonError { message } } }""",
        params={
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": list(partitions),
        },
    )["launchPartitionBackfill"]
    if "backfillId" not in answer:
        raise BenchError(f"the backfill of {', '.join(assets)} was not launched: {answer}")
    found: dict[str, str] = {}

    def is_over() -> bool:
        found["status"] = graphql.ask(
            """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
                ... on PartitionBackfill { status } } }""",
            id=answer["backfillId"],
        )["partitionBackfillOrError"]["status"]
        return found["status"] not in ("REQUESTED", "CANCELING", "FAILING")

    wait_until(f"backfill of {', '.join(assets)}", seconds, is_over)
    completed = time.time()
    runs = graphql.ask(
        """query ($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) {
            ... on Runs { results { runId } } } }""",
        tags=[{"key": BACKFILL, "value": answer["backfillId"]}],
    )["runsOrError"]["results"]
    times = tuple(run_times(graphql, run["runId"]) for run in runs)
    return Backfill(requested, completed, found["status"], times)
