"""Queries to a running instance, by the GraphQL API of its webserver.

Dagster's own `DagsterGraphQLClient` has six calls, of which three would serve here. Logs, ticks,
checks, materializations and load errors need queries anyway, so one client does them all. `dg api`
works with Dagster+ only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from taxi_shared.http import Credentials, Session

REPOSITORY = "__repository__"  # Dagster's name for the Definitions of a location
ASSET_JOB = "__ASSET_JOB"  # Dagster's name for the job of all assets of a location
# Dagster's message of a run that failed because its process died.
FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
AUTOMATION_TYPES = ("AUTOMATION", "AUTO_MATERIALIZE")
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
# The webserver launches a run before it answers, and may wait for its warm parent for 30 s.
TIMEOUT_SECONDS = 120


class GraphQLError(Exception):
    """The instance answered with an error."""


@dataclass(frozen=True)
class JobSubset:
    """Some of the assets of a job."""

    job: str
    assets: Sequence[str]

    def __str__(self) -> str:
        return self.job


@dataclass(frozen=True)
class Asset:
    """An asset that its location can materialize.

    partitions: the keys of its partitions; None without partitions
    upstream:   the names of the assets that it depends on
    """

    name: str
    location: str
    partitions: tuple[str, ...] | None = None
    upstream: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Materialization:
    """A materialization of an asset, or of one of its partitions, with its metadata."""

    asset: str
    partition: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Tick:
    """An evaluation of a sensor: its start, and the ids of the runs it requested."""

    timestamp: float
    requested: tuple[str, ...]


@dataclass(frozen=True)
class GraphQL:
    """The API of the webserver at `url`."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a query returns. Raises GraphQLError, or requests' errors."""
        with Session(Credentials.in_address(self.url)) as session:
            response = session.post(
                f"{self.url}/graphql",
                json={"query": query, "variables": variables},
                timeout=TIMEOUT_SECONDS,
            )
        answer = response.json()
        if "errors" in answer:
            raise GraphQLError("; ".join(error["message"] for error in answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    def is_up(self) -> bool:
        """Whether the webserver answers."""
        try:
            return bool(self.ask("{ version }"))
        except (requests.RequestException, ValueError):
            return False

    def location_errors(self) -> dict[str, str | None]:
        """The error of each location, None where it is loaded, `loading` while it loads."""
        entries = self.ask(
            """{ workspaceOrError { ... on Workspace { locationEntries {
                name loadStatus locationOrLoadError {
                  __typename ... on PythonError { message causes { message } } } } } } }"""
        )["workspaceOrError"]["locationEntries"]
        return {entry["name"]: _location_error(entry["locationOrLoadError"]) for entry in entries}

    def location_images(self) -> dict[str, str | None]:
        """The image of each location's code server, None where it runs in no container."""
        entries = self.ask(
            """{ workspaceOrError { ... on Workspace { locationEntries {
                name displayMetadata { key value } } } } }"""
        )["workspaceOrError"]["locationEntries"]
        return {
            entry["name"]: {each["key"]: each["value"] for each in entry["displayMetadata"]}.get(
                "image"
            )
            for entry in entries
        }

    def reload(self, location: str) -> None:
        """Reload a location; its error, if any, is then among `location_errors`."""
        answer = self.ask(
            """mutation ($name: String!) { reloadRepositoryLocation(
                repositoryLocationName: $name) { __typename ... on PythonError { message }
                ... on RepositoryLocationNotFound { message } } }""",
            name=location,
        )["reloadRepositoryLocation"]
        if answer["__typename"] != "WorkspaceLocationEntry":
            raise GraphQLError(f"{location} cannot be reloaded: {answer}")

    def launch(
        self,
        location: str,
        job: "str | JobSubset",
        *,
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Launch a run of a job, or of some of its assets; returns the run's id."""
        selector: dict[str, Any] = {
            "repositoryLocationName": location,
            "repositoryName": REPOSITORY,
            "jobName": str(job),
        }
        if isinstance(job, JobSubset):
            selector["assetSelection"] = [{"path": [asset]} for asset in job.assets]
        result = self.ask(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
                __typename
                ... on LaunchRunSuccess { run { runId } }
                ... on PythonError { message }
                ... on RunConfigValidationInvalid { errors { message } }
                ... on PipelineNotFoundError { message }
                ... on InvalidSubsetError { message } } }""",
            params={
                "selector": selector,
                "runConfigData": run_config or {},
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]
                },
            },
        )["launchRun"]
        if "run" not in result:
            raise GraphQLError(f"{location} {job} cannot be launched: {result}")
        run_id: str = result["run"]["runId"]
        return run_id

    def run_status(self, run_id: str) -> str:
        """The status of a run, such as `STARTED` or `SUCCESS`."""
        run = self.ask(
            "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
        )["runOrError"]
        status: str = run["status"]
        return status

    def run_tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run."""
        run = self.ask(
            "query ($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }",
            id=run_id,
        )["runOrError"]
        return {tag["key"]: tag["value"] for tag in run["tags"]}

    def retry(self, run_id: str) -> str:
        """Run again what failed in a run, as the daemon does; returns the new run's id."""
        result = self.ask(
            """mutation ($params: ReexecutionParams!) {
                launchRunReexecution(reexecutionParams: $params) {
                __typename
                ... on LaunchRunSuccess { run { runId } }
                ... on PythonError { message } } }""",
            params={
                "parentRunId": run_id,
                "strategy": "FROM_FAILURE",
                # By this tag a daemon that starts later knows that the run has been retried.
                "extraTags": [{"key": "dagster/retry_number", "value": "1"}],
            },
        )["launchRunReexecution"]
        if "run" not in result:
            raise GraphQLError(f"run {run_id} cannot be retried: {result}")
        retried: str = result["run"]["runId"]
        return retried

    def run_messages(self, run_id: str, cursor: str | None) -> tuple[list[str], str]:
        """The messages that a run logged at INFO or above since `cursor`, and the next cursor."""
        events = self.ask(
            """query ($id: ID!, $cursor: String) {
                logsForRun(runId: $id, afterCursor: $cursor) { ... on EventConnection {
                  cursor events { __typename ... on MessageEvent { message level } } } } }""",
            id=run_id,
            cursor=cursor,
        )["logsForRun"]
        messages = [
            event["message"]
            for event in events["events"]
            if event["__typename"] == "LogMessageEvent" and event["level"] != "DEBUG"
        ]
        return messages, events["cursor"]

    def run_failure(self, run_id: str) -> str:
        """Why a run failed: the messages of its failed steps, or of the run itself.

        If its process died, the message of Dagster's engine before that says how.
        """
        events = self.ask(
            """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
                __typename
                ... on EngineEvent { message }
                ... on ExecutionStepFailureEvent { stepKey error { message causes { message } } }
                ... on RunFailureEvent { message error { message causes { message } } } } } } }""",
            id=run_id,
        )["logsForRun"]["events"]
        steps = [
            f"{event['stepKey']}: {_innermost(event['error'])}"
            for event in events
            if event["__typename"] == "ExecutionStepFailureEvent"
        ]
        runs, engine = [], None
        for event in events:
            if event["__typename"] == "EngineEvent":
                engine = event
            elif event["__typename"] == "RunFailureEvent":
                outside = engine if event["message"] == FROM_OUTSIDE else None
                runs.append(_innermost(event["error"] or outside or event))
        return "\n".join(steps or runs or ["no reason was recorded"])

    def materializations(self, run_id: str) -> Iterator[Materialization]:
        """The materializations of a run; metadata `seconds` defaults to its step's duration."""
        run = self.ask(
            """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
                stepStats { stepKey startTime endTime }
                assetMaterializations { stepKey assetKey { path } partition
                  metadataEntries { label __typename
                  ... on IntMetadataEntry { intValue }
                  ... on FloatMetadataEntry { floatValue }
                  ... on TextMetadataEntry { text }
                  ... on PathMetadataEntry { path } } } } } }""",
            id=run_id,
        )["runOrError"]
        steps = {
            step["stepKey"]: (step["endTime"] or 0) - (step["startTime"] or 0)
            for step in run["stepStats"]
        }
        for event in run["assetMaterializations"]:
            yield Materialization(
                asset="/".join(event["assetKey"]["path"]),
                partition=event["partition"],
                metadata={
                    "seconds": steps.get(event["stepKey"]),
                }
                | {
                    entry["label"]: next(
                        (v for k, v in entry.items() if k not in ("label", "__typename")), None
                    )
                    for entry in event["metadataEntries"]
                },
            )

    def assets(self) -> list[Asset]:
        """The assets that the locations can materialize."""
        nodes = self.ask(
            """{ assetNodes { assetKey { path } isMaterializable isPartitioned partitionKeys
                dependencyKeys { path } repository { location { name } } } }"""
        )["assetNodes"]
        return [
            Asset(
                name="/".join(node["assetKey"]["path"]),
                location=node["repository"]["location"]["name"],
                partitions=tuple(node["partitionKeys"]) if node["isPartitioned"] else None,
                upstream=frozenset("/".join(key["path"]) for key in node["dependencyKeys"]),
            )
            for node in nodes
            if node["isMaterializable"]
        ]

    def automation_sensors(self) -> list[tuple[str, str]]:
        """The location and the name of each automation sensor that is running."""
        repositories = self.ask(
            """{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
                sensors { name sensorType sensorState { status } } } } } }"""
        )["repositoriesOrError"]["nodes"]
        return [
            (repository["location"]["name"], sensor["name"])
            for repository in repositories
            for sensor in repository["sensors"]
            if sensor["sensorType"] in AUTOMATION_TYPES
            and sensor["sensorState"]["status"] == "RUNNING"
        ]

    def ticks_since(self, location: str, sensor: str, moment: float) -> list[Tick]:
        """The finished ticks of a sensor since a moment, newest first.

        Raises GraphQLError if a tick failed.
        """
        ticks = self.ask(
            """query ($sensor: SensorSelector!, $after: Float!) {
                sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
                  ticks(afterTimestamp: $after) {
                    timestamp status runIds error { message } } } } } }""",
            sensor=_sensor(location, sensor),
            after=moment,
        )["sensorOrError"]["sensorState"]["ticks"]
        if errors := [tick["error"]["message"] for tick in ticks if tick["error"]]:
            raise GraphQLError(f"{sensor} of {location} failed: {errors[0]}")
        return [
            Tick(tick["timestamp"], tuple(tick["runIds"]))
            for tick in ticks
            if tick["status"] != "STARTED"
        ]

    def start_sensor(self, location: str, sensor: str) -> None:
        """Start a sensor."""
        answer = self.ask(
            """mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) {
                __typename ... on PythonError { message } } }""",
            sensor=_sensor(location, sensor),
        )["startSensor"]
        if answer["__typename"] != "Sensor":
            raise GraphQLError(f"{sensor} of {location} cannot be started: {answer}")

    def add_partition(self, location: str, partitions: str, key: str) -> None:
        """Add a key to the dynamic partitions definition `partitions`, unless it exists."""
        answer = self.ask(
            """mutation ($repository: RepositorySelector!, $name: String!, $key: String!) {
                addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name,
                    partitionKey: $key) { __typename ... on PythonError { message } } }""",
            repository={"repositoryLocationName": location, "repositoryName": REPOSITORY},
            name=partitions,
            key=key,
        )["addDynamicPartition"]
        if answer["__typename"] not in (
            "AddDynamicPartitionSuccess",
            "DuplicateDynamicPartitionError",
        ):
            raise GraphQLError(f"partition {key} of {location} cannot be added: {answer}")

    def runs_of_backfill(self, backfill_id: str) -> list[str]:
        """The ids of the runs that a backfill has launched so far."""
        runs = self.ask(
            """query ($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) {
                ... on Runs { results { runId } } } }""",
            tags=[{"key": "dagster/backfill", "value": backfill_id}],
        )["runsOrError"]["results"]
        return [run["runId"] for run in runs]

    def runs_of(self, location: str, job: str) -> dict[str, str]:
        """The runs of a location's job, newest first: their status by id."""
        runs = self.ask(
            """query ($job: String!, $tags: [ExecutionTag!]) {
                runsOrError(filter: {pipelineName: $job, tags: $tags}) {
                ... on Runs { results { runId status } } } }""",
            job=job,
            tags=[{"key": "dagster/code_location", "value": location}],
        )["runsOrError"]["results"]
        return {run["runId"]: run["status"] for run in runs}


def _sensor(location: str, sensor: str) -> dict[str, str]:
    return {
        "repositoryLocationName": location,
        "repositoryName": REPOSITORY,
        "sensorName": sensor,
    }


def _location_error(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return "loading"
    return _innermost(found) if found["__typename"] == "PythonError" else None


def _innermost(error: Mapping[str, Any]) -> str:
    causes = error.get("causes") or []
    message: str = causes[-1]["message"] if causes else error["message"]
    return message.strip()
