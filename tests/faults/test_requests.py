"""Requests that are many, bad, changed quickly, or written in pieces."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from taxi_platform.graphql import GraphQL
from taxi_platform.instance import Instance
from tests.faults.site import MONTHS, Site, launch_load, load
from tests.waiting import wait_for, wait_for_status

pytestmark = pytest.mark.slow

# `make faults` may send 2,000; a report takes a second or two of a core.
REQUESTS = int(os.environ.get("FAULT_REQUESTS") or 60)
LOAD_STARTS_SECONDS = 10
SECONDS_PER_REPORT = 10.0
CHANGES = 50
REQUEST = {"borough": "New York City", "start_date": "2023-01-10", "end_date": "2023-01-12"}
_TIMES = """query ($job: String!) { runsOrError(filter: { pipelineName: $job }) {
    ... on Runs { results { runId creationTime startTime } } } }"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.make(tmp_path_factory.mktemp("site"), TAXI_FOLLOW_TLC="off")


@pytest.fixture(scope="module")
def instance(site: Site) -> Iterator[Instance]:
    with site.instance() as started:
        load(started, MONTHS[:1])
        yield started


def statuses(site: Site) -> Counter[str]:
    """How many of many requests have which status."""
    found = (site.data / "outputs").glob("many-*.json")
    return Counter(json.loads(path.read_bytes())["status"] for path in found)


def outcome(site: Site, name: str) -> dict[str, Any]:
    """The outcome of a request; empty where there is none."""
    path = site.data / "outputs" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def runs_of_reports(graphql: GraphQL) -> dict[str, str]:
    return graphql.runs_of("adhoc_reports", "adhoc_request_job")


def seconds_to_start(graphql: GraphQL, run_id: str) -> float:
    """Seconds from the launch of a load to its start."""
    runs = graphql.ask(_TIMES, job="trip_update_job")["runsOrError"]["results"]
    times = next(run for run in runs if run["runId"] == run_id)
    return float(times["startTime"] - times["creationTime"])


@pytest.mark.fault(
    f"{REQUESTS:,} requests at once, a tenth of them bad, while a load is launched",
    f"the load starts within {LOAD_STARTS_SECONDS} s; each request gets its report, or a reason",
    "nothing",
)
def test_load_starts_before_queued_requests(site: Site, instance: Instance) -> None:
    folder, graphql = site.data / "requests", instance.graphql
    bad = {f"many-{n}" for n in range(0, REQUESTS, 10)}
    for n in range(REQUESTS):
        content = {**REQUEST, "borough": "Atlantis"} if f"many-{n}" in bad else REQUEST
        (folder / f"many-{n}.json").write_text(json.dumps(content))
    wait_for(lambda: len(runs_of_reports(graphql)) > REQUESTS // 3, "a queue of reports")
    run_id = launch_load(instance, MONTHS[1:2])
    wait_for_status(graphql, run_id, "SUCCESS")
    assert seconds_to_start(graphql, run_id) <= LOAD_STARTS_SECONDS
    wait_for(
        lambda: statuses(site) == {"done": REQUESTS - len(bad), "rejected": len(bad)},
        lambda: f"an outcome of each request: {statuses(site)}",
        REQUESTS * SECONDS_PER_REPORT,
    )
    charts = {path.stem for path in (site.data / "outputs").glob("many-*.png")}
    assert charts == {f"many-{n}" for n in range(REQUESTS)} - bad


@pytest.mark.fault(
    "a request that is changed fifty times within seconds",
    "the last content is answered, once",
    "nothing",
)
def test_last_content_of_a_request_wins(site: Site, instance: Instance) -> None:
    file, graphql = site.data / "requests" / "often.json", instance.graphql
    before = len(runs_of_reports(graphql))
    for n in range(CHANGES):
        file.write_text(json.dumps({**REQUEST, "end_date": f"2023-01-{12 + n % 17}"}))
        time.sleep(0.1)
    last = json.loads(file.read_bytes())

    def is_answered() -> bool:
        found = outcome(site, "often")
        return found.get("status") == "done" and found["request"]["end_date"] == last["end_date"]

    wait_for(is_answered, lambda: f"the answer to the last content: {outcome(site, 'often')}")
    runs = len(runs_of_reports(graphql))
    time.sleep(15)  # a tick and more
    assert len(runs_of_reports(graphql)) == runs  # which is drawn once
    assert runs - before < CHANGES / 2


@pytest.mark.fault(
    "a request that is written in pieces, over seconds",
    "it is rejected while it is no JSON, and answered once it is complete",
    "nothing",
)
def test_request_in_pieces_is_answered_when_complete(site: Site, instance: Instance) -> None:
    text = json.dumps(REQUEST)
    with (site.data / "requests" / "slow.json").open("w") as file:
        for begin in range(0, len(text), 10):
            file.write(text[begin : begin + 10])
            file.flush()
            time.sleep(0.5)
    wait_for(lambda: outcome(site, "slow").get("status") == "done", "the report")
    assert instance.graphql.is_up()
