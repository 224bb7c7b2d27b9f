"""Runs that are cancelled, in each state: they end within ten seconds, and leave nothing."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest

from taxi_platform.graphql import GraphQL
from taxi_platform.instance import Instance
from tests.faults.site import MONTHS, ROWS, Site, launch_load, load
from tests.faults.sound import assert_sound
from tests.waiting import wait_for, wait_for_status

SECONDS_TO_END = 10.0
TIMES_AS_MANY = 400  # rows: COPY takes some seconds
_TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id) { __typename
    ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
_MESSAGES = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on MessageEvent { message } } } } }"""


class Publisher(SimpleHTTPRequestHandler):
    """Serves a folder. While it is held, it sends the beginning of a file, and then nothing."""

    held = threading.Event()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file."""
        if self.held.is_set():
            outputfile.write(source.read(1_000))
            outputfile.flush()
        while self.held.is_set():
            time.sleep(0.1)
        super().copyfile(source, outputfile)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    folder = base / "source"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Publisher, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Site.make(base, TLC_SOURCE_URL=url, TAXI_FOLLOW_TLC="off")
    Publisher.held.clear()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def instance(site: Site) -> Iterator[Instance]:
    with site.instance() as started:
        yield started


def process_of(graphql: GraphQL, run_id: str) -> int:
    """The process of a run, as its first event says."""

    def process() -> int | None:
        events = graphql.ask(_MESSAGES, id=run_id)["logsForRun"]["events"]
        found = [event["message"] for event in events if "(pid: " in event.get("message", "")]
        return int(found[0].partition("(pid: ")[2].partition(")")[0]) if found else None

    return wait_for(process, f"the process of run {run_id}")


def is_executing(process: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def cancel(graphql: GraphQL, run_id: str) -> None:
    """Cancel a run, as a person does in the UI, which refuses until the run's process is there."""

    def is_accepted() -> bool:
        answer = graphql.ask(_TERMINATE, id=run_id)["terminateRun"]
        return bool(answer["__typename"] == "TerminateRunSuccess")

    wait_for(is_accepted, f"the cancellation of run {run_id}")


def assert_ends(graphql: GraphQL, run_id: str, process: int | None = None) -> None:
    """Check that a run that was cancelled ends in time, and its process no later than the run."""
    begin = time.monotonic()
    wait_for_status(graphql, run_id, seconds=SECONDS_TO_END)
    if process:
        left = SECONDS_TO_END - (time.monotonic() - begin)
        wait_for(lambda: not is_executing(process), "the end of the process", left)
    assert graphql.run_status(run_id) == "CANCELED"
    time.sleep(1)
    assert graphql.run_status(run_id) == "CANCELED"  # and no retry begins


ENDS = "it ends within ten seconds, its process too; the next run of the month starts"


@pytest.mark.fault("a load is cancelled in a download", ENDS, "nothing")
def test_load_is_cancelled_in_a_download(site: Site, instance: Instance) -> None:
    site.publish(ROWS + 1, MONTHS[:1])
    Publisher.held.set()
    run_id = launch_load(instance)
    wait_for(lambda: [*site.data.glob("raw/.*.partial")], "the download")
    process = process_of(instance.graphql, run_id)
    waiting = launch_load(instance)
    try:
        wait_for_status(instance.graphql, waiting, "QUEUED")
        cancel(instance.graphql, run_id)
        assert_ends(instance.graphql, run_id, process)
    finally:
        Publisher.held.clear()
    assert wait_for_status(instance.graphql, waiting) == "SUCCESS"
    assert_sound(site, instance)


@pytest.mark.fault("a load is cancelled while it is queued", "it never starts", "nothing")
def test_load_is_cancelled_in_the_queue(instance: Instance) -> None:
    before = launch_load(instance)
    queued = launch_load(instance)
    cancel(instance.graphql, queued)
    assert_ends(instance.graphql, queued)
    assert wait_for_status(instance.graphql, before) == "SUCCESS"


@pytest.mark.fault(
    "a load is cancelled while it starts",
    "the UI refuses until its process is there; then it ends within ten seconds",
    "cancels again where the UI refuses",
)
def test_load_is_cancelled_while_it_starts(site: Site, instance: Instance) -> None:
    site.publish(ROWS + 2, MONTHS[:1])
    run_id = launch_load(instance)
    wait_for_status(instance.graphql, run_id, "STARTING", "STARTED")
    cancel(instance.graphql, run_id)
    assert_ends(instance.graphql, run_id)
    load(instance)
    assert_sound(site, instance)


@pytest.mark.fault("a load is cancelled while DuckDB writes a month", ENDS, "nothing")
def test_load_is_cancelled_in_a_copy(site: Site, instance: Instance) -> None:
    file = site.source / "trip-data" / f"yellow_tripdata_{MONTHS[2][:7]}.parquet"
    published = file.read_bytes()
    written = f"staging/trips/partition_date={MONTHS[2]}/*"
    before = set(site.data.glob(written))
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT t.* FROM read_parquet(?) t, range({TIMES_AS_MANY})) "
            f"TO '{file}.new' (FORMAT parquet)",
            [str(file)],
        )
    Path(f"{file}.new").replace(file)
    run_id = launch_load(instance, MONTHS[2:])

    def is_writing() -> bool:
        return bool(set(site.data.glob(written)) - before)

    wait_for(is_writing, lambda: f"COPY: {instance.graphql.run_failure(run_id)}")
    process = process_of(instance.graphql, run_id)
    cancel(instance.graphql, run_id)
    assert_ends(instance.graphql, run_id, process)
    file.write_bytes(published)
    load(instance)
    assert_sound(site, instance)


@pytest.mark.fault(
    "a report is cancelled while its chart is drawn",
    "it ends within ten seconds; the portal says that it was cancelled",
    "asks again",
)
def test_report_is_cancelled_in_its_chart(site: Site, instance: Instance) -> None:
    graphql, outcome = instance.graphql, site.data / "outputs" / "city.json"
    site.arm("open", r"\.ttf", with_signal=signal.SIGSTOP)
    request = {"borough": "New York City", "start_date": "2023-01-10", "end_date": "2023-01-12"}
    file = site.data / "requests" / "city.json"
    file.write_text(json.dumps(request))
    process = site.wait_until_hit()
    (run_id,) = graphql.runs_of("adhoc_reports", "adhoc_request_job")
    # The code server waits for the process to take notice.
    threading.Timer(1, os.kill, (process, signal.SIGCONT)).start()
    cancel(graphql, run_id)
    assert_ends(graphql, run_id, process)
    found = json.loads(outcome.read_bytes())
    assert (found["status"], found["reason"]) == ("failed", "The run was cancelled. Try again.")
    file.write_text(json.dumps({**request, "end_date": "2023-01-13"}))
    wait_for(lambda: json.loads(outcome.read_bytes())["status"] == "done", "the report")
