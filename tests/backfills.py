"""Backfills of trips, as a person starts them in the UI."""

from collections.abc import Sequence
from typing import Any

from taxi_platform.graphql import GraphQL

from .waiting import SECONDS, wait_for

UNFINISHED = ("REQUESTED", "IN_PROGRESS", "FAILING", "CANCELING")


def launch_backfill(graphql: GraphQL, months: Sequence[str]) -> str:
    """Fetch and load months (`2023-03-01`) by a backfill; returns its ID."""
    launched = graphql.ask(
        """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(
              backfillParams: $params) { __typename
              ... on LaunchBackfillSuccess { backfillId }
              ... on PythonError { message } } }""",
        params={
            "assetSelection": [{"path": ["taxi_trips_file"]}, {"path": ["taxi_trips"]}],
            "partitionNames": list(months),
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def wait_for_backfill(
    graphql: GraphQL, backfill_id: str, seconds: float = SECONDS
) -> dict[str, Any]:
    """Wait until Dagster has closed a backfill, some time after its last run; returns its state.

    That is its `status`, `error` and `runs`, each with `runId` and `status`.
    """

    def closed() -> dict[str, Any] | None:
        found: dict[str, Any] = graphql.ask(
            """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
                ... on PartitionBackfill {
                  status error { message causes { message } } runs { runId status } } } }""",
            id=backfill_id,
        )["partitionBackfillOrError"]
        return found if found["status"] not in UNFINISHED else None

    return wait_for(closed, f"the end of backfill {backfill_id}", seconds)
