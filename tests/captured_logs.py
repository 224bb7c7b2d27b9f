"""What runs print, as their pages in the UI show it."""

from taxi_platform.graphql import GraphQL


def read_stderr(graphql: GraphQL, run_id: str) -> str:
    """Return what a run has written to stderr so far; it has one process for all steps."""
    events = graphql.ask(
        """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
             ... on LogsCapturedEvent { fileKey } } } } }""",
        id=run_id,
    )["logsForRun"]["events"]
    (key,) = [event["fileKey"] for event in events if event.get("fileKey")]
    logs = graphql.ask(
        "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }",
        key=[run_id, "compute_logs", key],
    )["capturedLogs"]
    return str(logs["stderr"])
