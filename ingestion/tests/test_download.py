"""A file is fetched whole and checked, or the old one stays and the reason is told."""

import threading
from pathlib import Path

import pytest
from upath import UPath

from ingestion.lib.download import (
    DownloadError,
    NotPublished,
    Patience,
    Receipt,
    TransientError,
    download,
    is_parquet,
    look,
)

from .conftest import Publisher, body, status

PARQUET = b"PAR1" + bytes(range(256)) * 40 + b"PAR1"
QUICK = Patience(attempts=4, first_wait_seconds=0.01)
PATH = "/trip-data/yellow_tripdata_2023-03.parquet"


@pytest.fixture
def target(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "raw" / "taxi_trips_2023-03.parquet")


def fetch(publisher: Publisher, target: UPath) -> bool:
    return download(publisher.url + PATH, target, check=is_parquet, patience=QUICK).fetched


def names(target: UPath) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_a_published_file_arrives_whole_with_its_receipt(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    assert fetch(publisher, target)
    assert target.read_bytes() == PARQUET
    receipt = Receipt.of(target)
    assert receipt is not None
    assert (receipt.version.etag, receipt.bytes) == ('"one"', len(PARQUET))


@pytest.mark.parametrize("code", [403, 404])
def test_a_month_that_is_not_published_fails_without_another_try(publisher, target, code):
    publisher.misbehave[PATH] = [status(code)] * 2
    with pytest.raises(NotPublished, match=str(code)):
        fetch(publisher, target)
    assert len(publisher.requests) == 1
    assert names(target) == []


@pytest.mark.parametrize(
    "first_answers",
    [
        [status(500), status(503)],
        [status(429, Retry_After="0")],
        [body(PARQUET[:1000], announced=len(PARQUET))],
        [body(b"", announced=len(PARQUET))],
    ],
    ids=["server error", "too many requests", "connection cut", "connection cut at once"],
)
def test_a_failure_that_passes_is_tried_again(publisher, target, first_answers):
    publisher.files[PATH] = PARQUET
    publisher.misbehave[PATH] = list(first_answers)
    assert fetch(publisher, target)
    assert target.read_bytes() == PARQUET
    assert len(publisher.requests) == len(first_answers) + 1


def test_a_failure_that_stays_is_told_after_the_last_attempt(publisher, target):
    publisher.misbehave[PATH] = [status(500)] * 9
    with pytest.raises(TransientError, match="HTTP 500"):
        fetch(publisher, target)
    assert len(publisher.requests) == QUICK.attempts
    assert names(target) == []


def test_the_server_says_how_long_to_wait(publisher, target):
    publisher.misbehave[PATH] = [status(429, Retry_After="7")] * 9
    patience = Patience(attempts=2, first_wait_seconds=0.01, longest_wait_seconds=0.2)
    with pytest.raises(TransientError) as raised:
        download(publisher.url + PATH, target, patience=patience)
    assert raised.value.wait_seconds == 7


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "begins with b'<!DOCTYPE"),
        (PARQUET[:-9], "not a whole Parquet file"),
        (b"", "begins with b''"),
    ],
    ids=["a web page", "truncated at the source", "empty"],
)
def test_what_is_not_parquet_is_refused_and_the_old_file_stays(publisher, target, content, reason):
    publisher.files[PATH] = PARQUET
    fetch(publisher, target)
    before = names(target)
    publisher.files[PATH] = content
    with pytest.raises(DownloadError, match=reason):
        fetch(publisher, target)
    assert target.read_bytes() == PARQUET
    assert names(target) == before


def test_a_body_longer_or_shorter_than_announced_is_never_taken(publisher, target):
    publisher.misbehave[PATH] = [body(PARQUET[:500], announced=len(PARQUET))] * 9
    with pytest.raises(TransientError):
        fetch(publisher, target)
    assert names(target) == []


def test_an_unchanged_file_is_not_fetched_again(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    assert fetch(publisher, target)
    assert not fetch(publisher, target)
    publisher.etags[PATH] = '"two"'
    assert fetch(publisher, target)


def test_a_damaged_file_is_fetched_again(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.write_bytes(PARQUET[:100])
    assert fetch(publisher, target)
    assert target.read_bytes() == PARQUET


def test_a_local_folder_serves_as_well(tmp_path, target):
    source = tmp_path / "yellow_tripdata_2023-03.parquet"
    with pytest.raises(NotPublished, match="no such file"):
        download(str(source), target, check=is_parquet)
    source.write_bytes(PARQUET)
    assert download(str(source), target, check=is_parquet).fetched
    assert not download(str(source), target, check=is_parquet).fetched
    source.write_bytes(PARQUET + PARQUET)
    assert download(str(source), target, check=is_parquet).fetched


def test_looking_does_not_fetch(publisher):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    assert look(publisher.url + PATH).etag == '"one"'
    assert publisher.requests == [("HEAD", PATH)]
    with pytest.raises(NotPublished):
        look(publisher.url + "/other.parquet")


def test_a_stop_ends_a_download_between_two_attempts(publisher, target):
    stop = threading.Event()
    stop.set()
    publisher.files[PATH] = PARQUET
    with pytest.raises(DownloadError, match="stopped"):
        download(publisher.url + PATH, target, stop=stop)
    assert names(target) == []


def test_a_server_that_is_down_is_a_failure_that_may_pass(target):
    with pytest.raises(TransientError):
        download("http://127.0.0.1:9/x.parquet", target, patience=Patience(2, 0.01))
