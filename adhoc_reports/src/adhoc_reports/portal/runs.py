"""What Dagster knows of requests on their way: by GraphQL over HTTP, and it may be away."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from adhoc_reports.lib.failure import UNEXPECTED, in_plain_words
from adhoc_reports.lib.intake import version_in
from adhoc_reports.portal.cache import CachedValue, StaleCache

SECONDS = 1.0
PATIENCE_SECONDS = 2.0
RUNS_SHOWN = 500

MAX_KEPT = 5_000

JOB = "adhoc_request_job"
_UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "FAILURE", "CANCELED"]
_RUN = "runId status endTime tags { key value }"
_SCENE = f"""
query ($statuses: [RunStatus!], $sensor: SensorSelector!, $limit: Int!, $tags: [ExecutionTag!]) {{
  runsOrError(
    filter: {{pipelineName: "{JOB}", statuses: $statuses, tags: $tags}}, limit: $limit
  ) {{
    ... on Runs {{ results {{ {_RUN} }} }} }}
  sensorOrError(sensorSelector: $sensor) {{
    __typename ... on Sensor {{ sensorState {{ status ticks(limit: 2) {{ status }} }} }} }}
  instance {{ daemonHealth {{ allDaemonStatuses {{ daemonType required healthy }} }} }}
}}"""
_RUN_OF_KEY = f"""
query ($tags: [ExecutionTag!]) {{
  runsOrError(filter: {{tags: $tags}}, limit: 1) {{ ... on Runs {{ results {{ {_RUN} }} }} }}
}}"""
_FAILURE = """
query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
  ... on ExecutionStepFailureEvent { error { className message causes { className message } } }
  ... on RunFailureEvent { message error { className message } } } } } }"""
LOCATION = "adhoc_reports"
# Another location may have a job of the same name, and the same run keys.
_OF_LOCATION = {"key": "dagster/code_location", "value": LOCATION}
_SENSOR = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
    "sensorName": "adhoc_request_sensor",
}


@dataclass(frozen=True)
class Run:
    """A run of a request; `ended` in seconds since 1970, None while it goes on."""

    run_id: str
    status: str
    ended: float | None


@dataclass(frozen=True)
class Scene:
    """What goes on in Dagster.

    runs:    by version of the request's file: those that have not ended, and the failed ones
    is_all:  whether there are no more of them than these
    trouble: what keeps requests from being answered, in plain words; empty where nothing does
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    is_all: bool = False
    trouble: str = ""


class NoAnswer(Exception):
    """Dagster does not answer, or not as it should."""


AWAY = Scene(
    trouble="Dagster, which makes the reports, does not answer. Requests are kept, and answered "
    "when it is back."
)


class Dagster:
    """The webserver at `url`; links for people begin with `public_url`."""

    def __init__(
        self, url: str, public_url: str, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.public_url = public_url
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=PATIENCE_SECONDS, transport=transport, trust_env=False
        )
        self._scene = StaleCache("Dagster", self._look, SECONDS, PATIENCE_SECONDS)
        self._failures: dict[str, tuple[str, str]] = {}
        self._runs: dict[str, tuple[float, Run | None]] = {}

    async def scene(self) -> Scene:
        """What goes on; `AWAY` where Dagster does not answer."""
        known: CachedValue[Scene] = await self._scene.get()
        return known.value if known.is_current and known.value else AWAY

    async def run_of(self, run_key: str) -> Run | None:
        """The newest run of a run key, however old, as of a second ago; None where there is none.

        Raises NoAnswer.
        """
        asked, run = self._runs.get(run_key, (float("-inf"), None))
        if time.monotonic() - asked > SECONDS:
            tags = [_OF_LOCATION, {"key": "dagster/run_key", "value": run_key}]
            data = await self._ask(_RUN_OF_KEY, tags=tags)
            run = _by_version(data["runsOrError"]).get(version_in(run_key))
            if len(self._runs) >= MAX_KEPT:
                self._runs.clear()
            self._runs[run_key] = time.monotonic(), run
        return run

    async def failure(self, run_id: str) -> tuple[str, str]:
        """Why a run failed: in plain words, and in those of the error. Raises NoAnswer."""
        if run_id not in self._failures:
            data = await self._ask(_FAILURE, id=run_id)
            if len(self._failures) >= MAX_KEPT:
                self._failures.clear()
            self._failures[run_id] = _reason(data["logsForRun"].get("events", []))
        return self._failures[run_id]

    def link(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self.public_url}/runs/{run_id}"

    async def _look(self) -> Scene:
        data = await self._ask(
            _SCENE, statuses=_UNFINISHED, sensor=_SENSOR, limit=RUNS_SHOWN, tags=[_OF_LOCATION]
        )
        found = data["runsOrError"]
        is_all = len(found.get("results", [])) < RUNS_SHOWN
        return Scene(_by_version(found), is_all, _trouble(data))

    async def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer. Raises NoAnswer."""
        try:
            response = await self._client.post(
                "/graphql", json={"query": query, "variables": variables}
            )
            answer = response.raise_for_status().json()
        except (httpx2.HTTPError, ValueError) as error:
            raise NoAnswer(f"{self._client.base_url}: {error!r}") from error
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict) or answer.get("errors"):
            raise NoAnswer(f"{self._client.base_url} answers with {str(answer)[:300]}")
        return data


def _by_version(found: Mapping[str, Any]) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for run in reversed(found.get("results", [])):  # newest last: it counts
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        if version := version_in(tags.get("dagster/run_key", "")):
            runs[version] = Run(run["runId"], run["status"], run["endTime"])
    return runs


def _trouble(data: Mapping[str, Any]) -> str:
    kept = "Requests are kept, and answered when that is mended."
    sensor = data["sensorOrError"]
    if sensor["__typename"] != "Sensor":
        return f"The reporting team's code is not loaded in Dagster. {kept}"
    if sensor["sensorState"]["status"] != "RUNNING":
        return f"The sensor that takes requests is switched off in Dagster. {kept}"
    daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    ill = {each["daemonType"] for each in daemons if each["required"] and each["healthy"] is False}
    if "SENSOR" in ill:
        return f"Dagster's daemon, which takes requests, does not run. {kept}"
    if "QUEUED_RUN_COORDINATOR" in ill:
        return f"Dagster's daemon, which starts what is queued, does not run. {kept}"
    ticks = [tick["status"] for tick in sensor["sensorState"]["ticks"]]
    if next((status for status in ticks if status != "STARTED"), "") == "FAILURE":
        return f"The sensor that takes requests fails in Dagster. {kept}"
    return ""


def _reason(events: list[dict[str, Any]]) -> tuple[str, str]:
    for error in (event["error"] for event in events if event.get("error")):
        chain = [error, *(error.get("causes") or [])]
        texts = [f"{each['className']}: {each['message']}" for each in chain]
        return in_plain_words(texts), chain[-1]["message"].strip()
    messages = [event["message"] for event in events if event.get("message")]
    return (in_plain_words(messages), messages[0]) if messages else (UNEXPECTED, "")
