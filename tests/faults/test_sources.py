"""A source that is slow, away, or lies; runs that are cancelled while they wait for it."""

import base64
import hashlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taxi_platform.instance import Instance
from tests.faults import publisher as sources
from tests.faults.publisher import Answer, Publisher, content, publishing, status
from tests.faults.site import JANUARY, Site, launch_load, load, wait_for_second_try
from tests.faults.sound import (
    assert_equal_source,
    assert_sound,
    of_lake,
    unfinished_runs,
)
from tests.waiting import wait_for, wait_for_status

STOP_SECONDS = 10


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[type[Publisher], str]]:
    with publishing(tmp_path_factory.mktemp("site") / "source") as published:
        yield published


@pytest.fixture(scope="module")
def misbehave(publisher: tuple[type[Publisher], str]) -> list[Answer]:
    """The next answers to requests for a month."""
    return publisher[0].misbehave


@pytest.fixture(scope="module")
def site(publisher: tuple[type[Publisher], str]) -> Site:
    served, url = publisher
    return Site.make(served.folder.parent, TAXI_FOLLOW_TLC="off", TLC_SOURCE_URL=url)


@pytest.fixture
def new_month(site: Site, instance: Instance, misbehave: list[Answer], rows: Iterator[int]) -> None:
    """Publish January with other rows."""
    misbehave.clear()
    site.publish(next(rows), JANUARY)


def row(fault: str, happens: str, *answers: Answer) -> object:
    """A row of the table: the first answers of a source."""
    marks = pytest.mark.fault(fault, happens, "nothing")
    return pytest.param(list(answers), id=fault, marks=marks)


def with_other_byte(original: bytes) -> bytes:
    """Change a byte within a page: no reader may notice it."""
    middle = len(original) // 2
    return original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :]


def with_zeros(original: bytes) -> bytes:
    """Overwrite whole pages with zeros: they cannot be decompressed."""
    third = len(original) // 3
    return original[:third] + bytes(third) + original[2 * third :]


def without_footer(original: bytes) -> bytes:
    length = int.from_bytes(original[-8:-4], "little")
    return original[: -8 - length] + b"\xff" * length + original[-8:]


def with_digest(publisher: Publisher) -> None:
    """Send a damaged file, and the digest of the whole one."""
    digest = hashlib.sha256(publisher.content).digest()
    text = base64.b64encode(digest).decode()
    content(with_other_byte, Repr_Digest=f"sha-256=:{text}:")(publisher)


RETRIED = [
    row("a source that stops midway", "the download is tried again", sources.cut),
    row(
        "a source that answers 429 and 503",
        "the download is tried again after the wait that the source asks for",
        status(429, Retry_After="1"),
        status(503),
    ),
    row(
        "a source that sends another content than its digest says",
        "the download is tried again",
        with_digest,
    ),
    row(
        "a source that sends 2 kB/s",
        "the download is ended after a minute and tried again; TAXI_DOWNLOAD_MIN_KB_PER_SECOND",
        sources.drip,
    ),
    row(
        "a source that blocks a published month with 403",
        "the step is tried again after a minute",
        status(403),
    ),
]


@pytest.mark.usefixtures("new_month")
@pytest.mark.parametrize("answers", RETRIED)
def test_failure_that_may_pass_is_retried(
    site: Site, instance: Instance, misbehave: list[Answer], answers: Sequence[Answer]
) -> None:
    misbehave += answers
    load(instance, JANUARY)
    assert misbehave == []
    assert_equal_source(site, instance, JANUARY)


def refused(fault: str, answer: Answer, expected: str) -> object:
    """A row of the table: an answer that a run refuses, and its reason."""
    marks = pytest.mark.fault(
        fault, "the run fails and says why; readers keep what they had", "run it again later"
    )
    return pytest.param((answer, expected), id=fault, marks=marks)


def redirect_to_itself(publisher: Publisher) -> None:
    publisher.misbehave.append(redirect_to_itself)
    publisher.answer(302, b"", {"Location": publisher.path})


REFUSED = [
    refused(
        "a source with a wrong Content-Length",
        sources.too_short,
        "is not a whole Parquet file",
    ),
    refused("a source that redirects without end", redirect_to_itself, "Exceeded 30 redirects"),
    refused(
        "a source that sends a web page",
        content(lambda _: b"<!DOCTYPE html><title>Sign in</title>"),
        "is not a Parquet file: it begins with b'<!DOCTYPE html>",
    ),
    refused(
        "a file with a damaged footer",
        content(without_footer, ETag="{}"),
        "has a damaged footer",
    ),
    refused(
        "a file with pages that cannot be decompressed",
        content(with_zeros, ETag="{}"),
        "it is fetched again at the next load",
    ),
]


@pytest.mark.usefixtures("new_month")
@pytest.mark.parametrize("case", REFUSED)
def test_wrong_content_is_refused_and_fetched_again(
    site: Site, instance: Instance, misbehave: list[Answer], case: tuple[Answer, str]
) -> None:
    answer, expected = case
    before = of_lake(site, "trips")
    misbehave.append(answer)
    run_id = load(instance, JANUARY, expected="FAILURE")
    assert expected in instance.graphql.run_failure(run_id)
    assert of_lake(site, "trips") == before
    misbehave.clear()
    load(instance, JANUARY)  # the damaged file has the ETag of the whole one
    assert_equal_source(site, instance, JANUARY)


@pytest.mark.fault(
    "kill -9 when half of a file has arrived",
    "the run fails and is tried again once; the file is fetched again",
    "nothing",
)
@pytest.mark.usefixtures("new_month")
def test_run_killed_in_a_download_is_tried_again(
    site: Site, instance: Instance, misbehave: list[Answer]
) -> None:
    before = of_lake(site, "trips")
    misbehave.append(sources.half_a_body)
    first, process = launch_and_wait_for_request(site, instance, misbehave)
    os.kill(process, signal.SIGKILL)
    assert of_lake(site, "trips") == before
    wait_for_second_try(instance, first)
    assert_sound(site, instance, JANUARY)


@pytest.mark.fault(
    "a file that is replaced between two attempts of a download",
    "the new file is fetched from its beginning",
    "nothing",
)
@pytest.mark.usefixtures("new_month")
def test_file_replaced_between_attempts_is_whole(
    site: Site, instance: Instance, misbehave: list[Answer], rows: Iterator[int]
) -> None:
    def cut_and_replace(publisher: Publisher) -> None:
        sources.cut(publisher)
        site.publish(next(rows), JANUARY)

    misbehave.append(cut_and_replace)
    load(instance, JANUARY)
    assert_sound(site, instance, JANUARY)


@pytest.mark.fault(
    "a file that is replaced while it is loaded",
    "the month has the rows of the old file, whole, and those of the new one after the next run",
    "nothing",
)
@pytest.mark.usefixtures("new_month")
def test_file_replaced_during_its_load_is_loaded_next(
    site: Site, instance: Instance, rows: Iterator[int]
) -> None:
    pattern = r"/trips/partition_date=.*/trips-[0-9a-f]+\.parquet"
    old = pq.read_metadata(published(site)).num_rows
    site.arm("open", pattern, with_signal=signal.SIGSTOP)
    run_id = launch_load(instance, JANUARY)
    process = site.wait_until_hit()
    site.publish(next(rows), JANUARY)
    os.kill(process, signal.SIGCONT)
    assert wait_for_status(instance.graphql, run_id) == "SUCCESS"
    assert of_lake(site, "trips")[JANUARY[0]][0] == old
    load(instance, JANUARY)
    assert_sound(site, instance, JANUARY)


def published(site: Site) -> Path:
    return site.source / "trip-data" / "yellow_tripdata_2023-01.parquet"


def connects_to_nothing(publisher: Publisher) -> None:
    with sources.unanswered_address() as address:
        publisher.answer(302, b"", {"Location": address})
        publisher.closing.wait(30)


STATES = {
    "it connects": [connects_to_nothing],
    "it waits for an answer": [sources.no_answer],
    "headers arrive": [sources.slow_headers],
    "a file arrives": [sources.half_a_body],
    "a download waits for its next attempt": [status(503, Retry_After="60")],
    "a step waits for its next attempt": [status(403)],
}


@pytest.mark.usefixtures("new_month")
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(
            answers,
            id=name,
            marks=pytest.mark.fault(
                f"a run is cancelled while {name}",
                f"its process ends and the run is cancelled within {STOP_SECONDS} s; a part of a "
                "file is removed after six hours",
                "nothing",
            ),
        )
        for name, answers in STATES.items()
    ],
)
def test_cancelled_run_ends_while_it_waits_for_a_source(
    site: Site, instance: Instance, misbehave: list[Answer], answers: Sequence[Answer]
) -> None:
    before = of_lake(site, "trips")
    misbehave += answers
    run_id, process = launch_and_wait_for_request(site, instance, misbehave)
    begin = time.monotonic()
    terminate(instance, run_id)
    wait_for_status(instance.graphql, run_id, "CANCELED", seconds=2 * STOP_SECONDS)
    wait_for(lambda: not is_running(process), "the end of the process", 2 * STOP_SECONDS)
    seconds = time.monotonic() - begin
    assert seconds <= STOP_SECONDS
    assert of_lake(site, "trips") == before
    assert unfinished_runs(instance) == []
    load(instance, JANUARY)
    assert_sound(site, instance, JANUARY)


def launch_and_wait_for_request(
    site: Site, instance: Instance, misbehave: list[Answer]
) -> tuple[str, int]:
    """Launch a load, and wait until the source has answered it; returns the run and its process."""
    site.arm("open", r"staging/loads/trips/", with_signal=signal.SIGCONT)  # names the process
    run_id = launch_load(instance, JANUARY)
    process = site.wait_until_hit()
    wait_for(lambda: not misbehave, "the request for the file")
    time.sleep(1)  # the answer has to arrive, which leaves no trace
    return run_id, process


def terminate(instance: Instance, run_id: str) -> None:
    """Cancel a run, as the UI does."""
    answer = instance.graphql.ask(
        "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id
    )
    assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer


def is_running(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
