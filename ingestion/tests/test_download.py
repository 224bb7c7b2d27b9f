"""A file is fetched whole and checked, or the old one stays and the error says why."""

import gzip
import io
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from ingestion.lib import published_files
from ingestion.lib.download import PARQUET, Backoff, SourceMetadata, download
from ingestion.lib.published_files import (
    DownloadError,
    Forbidden,
    NotPublished,
    TransientError,
    Version,
    fetch_version,
)

from .conftest import Publisher, body, parquet, status

Answer = Callable[[BaseHTTPRequestHandler], None]

CONTENT = parquet(5_000)
QUICK = Backoff(attempts=4, first_wait_seconds=0.01)
PATH = "/trip-data/yellow_tripdata_2023-03.parquet"


@pytest.fixture
def target(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "raw" / "taxi_trips_2023-03.parquet")


def fetch(publisher: Publisher, target: UPath) -> bool:
    return download(publisher.url + PATH, target, PARQUET, QUICK).fetched


def names(target: UPath) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_published_file_arrives_whole_with_its_metadata(
    publisher: Publisher, target: UPath
) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    assert fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    metadata = SourceMetadata.load_verified(target)
    assert metadata is not None
    assert (metadata.version.etag, metadata.bytes) == ('"one"', len(CONTENT))


@pytest.mark.parametrize("code", [403, 404])
def test_unpublished_month_fails_without_retry(
    publisher: Publisher, target: UPath, code: int
) -> None:
    publisher.misbehave[PATH] = [status(code)] * 2
    with pytest.raises(Forbidden if code == 403 else NotPublished, match=f"HTTP {code}"):
        fetch(publisher, target)
    assert len(publisher.requests) == 1
    assert names(target) == []


@pytest.mark.parametrize(
    "first_answers",
    [
        [status(500), status(503)],
        [status(429, Retry_After="0")],
        [body(CONTENT[:1000], announced=len(CONTENT))],
        [body(b"", announced=len(CONTENT))],
    ],
    ids=["server error", "too many requests", "connection cut", "connection cut at once"],
)
def test_transient_failure_is_retried(
    publisher: Publisher, target: UPath, first_answers: list[Answer]
) -> None:
    publisher.files[PATH] = CONTENT
    publisher.misbehave[PATH] = list(first_answers)
    assert fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    assert len(publisher.requests) == len(first_answers) + 1


def test_lasting_failure_is_raised_after_the_last_attempt(
    publisher: Publisher, target: UPath
) -> None:
    publisher.misbehave[PATH] = [status(500)] * 9
    with pytest.raises(TransientError, match="HTTP 500"):
        fetch(publisher, target)
    assert len(publisher.requests) == QUICK.attempts
    assert names(target) == []


def test_error_has_the_wait_that_the_server_asks_for(publisher: Publisher, target: UPath) -> None:
    publisher.misbehave[PATH] = [status(429, Retry_After="7")] * 9
    backoff = Backoff(attempts=2, first_wait_seconds=0.01, longest_wait_seconds=0.2)
    with pytest.raises(TransientError) as raised:
        download(publisher.url + PATH, target, PARQUET, backoff)
    assert raised.value.wait_seconds == 7


@pytest.mark.parametrize("code", [403, 429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("soon", None), ("", None), ("9" * 5000, None)],
    ids=["seconds", "no number", "empty", "many digits"],
)
def test_retry_after_is_read_as_seconds(
    publisher: Publisher, code: int, value: str, seconds: float | None
) -> None:
    publisher.misbehave[PATH] = [status(code, Retry_After=value)]
    with pytest.raises(DownloadError) as raised:
        fetch_version(publisher.url + PATH)
    assert raised.value.wait_seconds == seconds


def test_retry_after_is_read_as_a_date(publisher: Publisher) -> None:
    then = datetime.now(UTC) + timedelta(hours=1)
    publisher.misbehave[PATH] = [status(429, Retry_After=format_datetime(then, usegmt=True))]
    with pytest.raises(TransientError) as raised:
        fetch_version(publisher.url + PATH)
    assert raised.value.wait_seconds == pytest.approx(3600, abs=600)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "begins with b'<!DOCTYPE"),
        (CONTENT[:-9], "not a whole Parquet file"),
        (b"", "begins with b''"),
        (b"PAR1", "is not a whole Parquet file: it has 4 bytes, expected at least 12"),
        (b"PAR1PAR1", "is not a whole Parquet file: it has 8 bytes, expected at least 12"),
        (b"PARE" + CONTENT[4:-4] + b"PARE", r"2023-03\.parquet is an encrypted Parquet file"),
    ],
    ids=["a web page", "truncated at the source", "empty", "PAR1", "PAR1PAR1", "encrypted"],
)
def test_other_content_is_refused_and_the_old_file_stays(
    publisher: Publisher, target: UPath, content: bytes, reason: str
) -> None:
    publisher.files[PATH] = CONTENT
    fetch(publisher, target)
    before = names(target)
    publisher.files[PATH] = content
    with pytest.raises(DownloadError, match=reason):
        fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    assert names(target) == before


def test_body_shorter_than_announced_is_refused(publisher: Publisher, target: UPath) -> None:
    publisher.misbehave[PATH] = [body(CONTENT[:500], announced=len(CONTENT))] * 9
    with pytest.raises(TransientError):
        fetch(publisher, target)
    assert names(target) == []


def test_unchanged_file_is_not_fetched_again(publisher: Publisher, target: UPath) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    assert fetch(publisher, target)
    assert not fetch(publisher, target)
    publisher.etags[PATH] = '"two"'
    assert fetch(publisher, target)


def test_damaged_file_is_fetched_again(publisher: Publisher, target: UPath) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.write_bytes(CONTENT[:100])
    assert fetch(publisher, target)
    assert target.read_bytes() == CONTENT


def test_local_folder_is_a_source(tmp_path: Path, target: UPath) -> None:
    source = tmp_path / "yellow_tripdata_2023-03.parquet"
    with pytest.raises(NotPublished, match="no such file"):
        download(str(source), target, PARQUET)
    source.write_bytes(CONTENT)
    assert download(str(source), target, PARQUET).fetched
    assert not download(str(source), target, PARQUET).fetched
    source.write_bytes(CONTENT + CONTENT)
    assert download(str(source), target, PARQUET).fetched


def test_file_url_is_a_source(tmp_path: Path, target: UPath) -> None:
    source = tmp_path / "a folder" / "100%.parquet"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    for address in (source.as_uri(), source.as_uri().replace("file://", "file://localhost")):
        assert fetch_version(address).bytes == len(CONTENT)
        assert download(address, target, PARQUET).fetched
        assert not download(address, target, PARQUET).fetched
    with pytest.raises(NotPublished, match="no such file"):
        fetch_version(source.with_name("other.parquet").as_uri())
    with pytest.raises(DownloadError, match=r"has the host 'server'; expected file:///folder/…"):
        fetch_version("file://server/other.parquet")


def test_missing_source_folder_is_no_unpublished_month(tmp_path: Path, target: UPath) -> None:
    address = str(tmp_path / "mount" / "trip-data" / "yellow_tripdata_2023-03.parquet")
    with pytest.raises(DownloadError, match=f"there is no folder {tmp_path}/mount") as raised:
        download(address, target)
    assert not isinstance(raised.value, NotPublished | TransientError)
    (tmp_path / "mount").mkdir()
    with pytest.raises(NotPublished):
        download(address, target)


def test_folder_in_place_of_a_file_is_named(tmp_path: Path, target: UPath) -> None:
    with pytest.raises(DownloadError, match="is a folder or a device; expected a file"):
        download(str(tmp_path), target)


@pytest.mark.parametrize("code", [405, 501])
def test_mirror_without_head_is_asked_by_get(publisher: Publisher, code: int) -> None:
    def first_byte(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers["Range"])
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-0/{len(CONTENT)}")
        handler.send_header("Content-Length", "1")
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:1])

    asked: list[str] = []
    publisher.misbehave[PATH] = [status(code), first_byte]
    version = fetch_version(publisher.url + PATH)
    assert (version.etag, version.bytes, asked) == ('"one"', len(CONTENT), ["bytes=0-0"])


def test_mirror_without_head_and_ranges_sends_no_body(publisher: Publisher) -> None:
    publisher.misbehave[PATH] = [status(405), trickle(b"." * 1000, 0.01)]
    publisher.misbehave[PATH + "2"] = [status(405), body(CONTENT, announced=10**12)]
    assert fetch_version(publisher.url + PATH).bytes is None
    assert fetch_version(publisher.url + PATH + "2").bytes == 10**12


def test_compressed_response_is_decoded(publisher: Publisher, target: UPath) -> None:
    content = gzip.compress(CONTENT)

    def compressed(content: bytes, announced: int) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Encoding", "gzip")
            handler.send_header("Content-Length", str(announced))
            handler.end_headers()
            handler.wfile.write(content)
            handler.close_connection = True

        return answer

    assert len(content) != len(CONTENT)
    publisher.misbehave[PATH] = [
        compressed(content[:-50], len(content)),  # and once the connection is cut
        compressed(content, len(content)),
    ]
    assert fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    metadata = SourceMetadata.load_verified(target)
    assert metadata is not None
    assert (metadata.bytes, metadata.version.bytes) == (len(CONTENT), None)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"address": "x"}', b"\xff"])
def test_unreadable_metadata_counts_as_none(
    publisher: Publisher, target: UPath, content: bytes
) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.with_name(f"{target.name}.source.json").write_bytes(content)
    assert SourceMetadata.load(target) is None
    assert fetch(publisher, target)
    assert not fetch(publisher, target)


def test_metadata_of_an_older_release_is_read(target: UPath) -> None:
    target.parent.mkdir()
    target.with_name(f"{target.name}.source.json").write_text(
        '{"address": "https://x.test/a", "version": {"etag": "1", "last_modified": null, '
        '"bytes": 7}, "bytes": 7, "sha256": "e3b0"}'
    )
    metadata = SourceMetadata("https://x.test/a", Version("1", None, 7), 7, "e3b0")
    assert SourceMetadata.load(target) == metadata
    assert SourceMetadata.load_verified(target) is None
    target.write_bytes(b"7 bytes")
    assert SourceMetadata.load_verified(target) == metadata


def test_file_without_metadata_is_fetched_again(publisher: Publisher, target: UPath) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.with_name(f"{target.name}.source.json").unlink()
    assert fetch(publisher, target)


def test_full_disk_is_named_and_not_retried(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full(path: UPath) -> Iterator[BinaryIO]:
        with Path("/dev/full").open("wb") as file:
            yield file

    publisher.files[PATH] = CONTENT
    monkeypatch.setattr("taxi_shared.storage.atomic_open", full)
    with pytest.raises(DownloadError) as raised:
        fetch(publisher, target)
    assert str(raised.value).startswith(f"no space left on {target.parent} for {target.name}")
    assert len(publisher.requests) == 1


def test_fetch_version_fetches_no_content(publisher: Publisher) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    assert fetch_version(publisher.url + PATH).etag == '"one"'
    assert publisher.requests == [("HEAD", PATH)]
    with pytest.raises(NotPublished):
        fetch_version(publisher.url + "/other.parquet")


def test_stop_ends_a_download_before_its_first_byte(publisher: Publisher, target: UPath) -> None:
    stop = threading.Event()
    stop.set()
    publisher.files[PATH] = CONTENT
    with pytest.raises(DownloadError, match="stopped"):
        download(publisher.url + PATH, target, PARQUET, Backoff(stop=stop))
    assert names(target) == []


def test_unreachable_server_is_a_transient_error(target: UPath) -> None:
    with pytest.raises(TransientError):
        download("http://127.0.0.1:9/x.parquet", target, PARQUET, Backoff(2, 0.01))


def test_announced_size_over_the_limit_is_refused_unread(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", "1")
    publisher.misbehave[PATH] = [body(CONTENT, announced=1_000_001)]
    with pytest.raises(DownloadError) as refused:
        fetch(publisher, target)
    assert str(refused.value) == (
        f"{publisher.url}{PATH} is larger than 1 MB; if it is the right file, set "
        "TAXI_DOWNLOAD_MAX_MB to more"
    )
    assert len(publisher.requests) == 1
    assert names(target) == []


def trickle(chunk: bytes, seconds: float) -> Answer:
    """Answer with a body without an announced length, until the client goes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                time.sleep(seconds)
        except OSError:
            pass

    return answer


def test_unannounced_size_over_the_limit_leaves_nothing(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", "1")
    publisher.misbehave[PATH] = [trickle(b"." * 50_000, 0)]
    with pytest.raises(DownloadError, match=r"larger than 1 MB.*TAXI_DOWNLOAD_MAX_MB"):
        fetch(publisher, target)
    assert names(target) == []


def flipped(content: bytes) -> bytes:
    """The content with another byte in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def with_header(content: bytes, name: str, value: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


MD5 = b64encode(md5(CONTENT, usedforsecurity=False).digest()).decode()
SHA256 = b64encode(sha256(CONTENT).digest()).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-MD5", MD5),
        ("x-goog-hash", f"crc32c=AAAAAA==,md5={MD5}"),
        ("Digest", f"SHA-256={SHA256}"),
        ("Repr-Digest", f"md5=:{MD5}:, sha-256=:{SHA256}:"),
    ],
    ids=["Azure", "Google", "RFC 3230", "RFC 9530"],
)
def test_content_with_another_digest_is_fetched_again(
    publisher: Publisher, target: UPath, name: str, value: str
) -> None:
    publisher.misbehave[PATH] = [
        with_header(flipped(CONTENT), name, value),
        with_header(CONTENT, name, value),
    ]
    assert fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    assert len(publisher.requests) == 2


@pytest.mark.parametrize("value", ["", "5d41402abc4b2a76b9719d911017c592", "crc32c=AAAAAA=="])
def test_header_without_a_known_digest_is_ignored(
    publisher: Publisher, target: UPath, value: str
) -> None:
    for name in ("Content-MD5", "x-goog-hash", "Repr-Digest", "ETag"):
        publisher.misbehave[PATH] = [with_header(CONTENT, name, value)]
        assert fetch(publisher, target)


def test_damaged_footer_is_refused_before_it_replaces_a_file(
    publisher: Publisher, target: UPath
) -> None:
    publisher.files[PATH] = CONTENT
    fetch(publisher, target)
    footer = 8 + int.from_bytes(CONTENT[-8:-4], "little")
    for damaged in (
        CONTENT[:-footer] + bytes(footer - 8) + CONTENT[-8:],
        CONTENT[:-footer] + b"\xff" * (footer - 8) + CONTENT[-8:],
        CONTENT[:-8] + b"\xff" * 4 + b"PAR1",
    ):
        publisher.files[PATH] = damaged
        with pytest.raises(DownloadError, match=r"2023-03\.parquet has a damaged footer"):
            fetch(publisher, target)
    assert target.read_bytes() == CONTENT
    publisher.files[PATH] = CONTENT
    assert fetch(publisher, target)


def test_footer_larger_than_a_mebibyte_is_left_to_the_load(
    publisher: Publisher, target: UPath
) -> None:
    schema = pa.schema({"number": pa.int64()}, metadata={"long": "." * 2_000_000})
    file = io.BytesIO()
    pq.write_table(pa.table({"number": [1]}, schema=schema), file)
    publisher.files[PATH] = file.getvalue()
    assert fetch(publisher, target)


def test_local_file_changed_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, other = tmp_path / "yellow_tripdata_2023-03.parquet", parquet(6_000)
    source.write_bytes(CONTENT)

    monkeypatch.setattr(published_files, "CHUNK_BYTES", 1000)
    version = fetch_version(str(source))
    with published_files.open_file(str(source), None, time.monotonic() + 60) as (_, chunks):
        assert chunks is not None
        next(chunks)
        source.write_bytes(other)
        with pytest.raises(TransientError, match="was changed while it was read"):
            list(chunks)
    assert fetch_version(str(source)) != version


@pytest.mark.parametrize("least", ["1000", "0"])
def test_slow_body_is_a_transient_error(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch, least: str
) -> None:
    monkeypatch.setattr("ingestion.lib.download.SPEED_SECONDS", 0.3)
    monkeypatch.setenv("TAXI_DOWNLOAD_MIN_KB_PER_SECOND", least)
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_SECONDS", "2")
    publisher.misbehave[PATH] = [trickle(b"." * 100, 0.05)]
    publisher.files[PATH] = CONTENT
    if least == "0":
        with pytest.raises(DownloadError, match="did not arrive within 2 s"):
            fetch(publisher, target)
        return
    with pytest.raises(TransientError, match=r"kB/s in the last .* s, expected at least 1000; .*"):
        download(publisher.url + PATH, target, PARQUET, Backoff(attempts=1))
    assert fetch(publisher, target)


def trickle_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nETag: ")
        for _ in range(400):
            handler.wfile.write(b".")
            time.sleep(0.05)
    except OSError:
        pass


def wait_without_answer(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.recv(1)  # until the client ends the connection


def wait_in_the_body(handler: BaseHTTPRequestHandler) -> None:
    body(CONTENT[:1000], announced=len(CONTENT))(handler)
    handler.wfile.flush()
    wait_without_answer(handler)


@pytest.mark.parametrize(
    ("first_answers", "backoff"),
    [
        ([wait_without_answer], QUICK),
        ([trickle_headers], QUICK),
        ([wait_in_the_body], QUICK),
        ([status(503)] * 9, Backoff(first_wait_seconds=60)),
        ([status(429, Retry_After="60")] * 9, QUICK),
    ],
    ids=["no answer", "headers", "body", "retry wait", "wait that the server asks for"],
)
def test_stop_ends_a_download_in_any_state(
    publisher: Publisher, target: UPath, first_answers: list[Answer], backoff: Backoff
) -> None:
    publisher.misbehave[PATH] = list(first_answers)
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(DownloadError, match="stopped"):
        download(publisher.url + PATH, target, PARQUET, replace(backoff, stop=stop))
    assert time.monotonic() - begin < 3
    timer.join()


def test_stop_ends_a_download_that_cannot_connect(target: UPath) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # they fill the queue: the next one gets no answer
            each.setblocking(False)
            each.connect_ex(address)
        stop = threading.Event()
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(DownloadError, match="stopped"):
            download(f"http://127.0.0.1:{address[1]}/x", target, PARQUET, Backoff(stop=stop))
        assert time.monotonic() - begin < 3
        for each in waiting:
            each.close()
    timer.join()


def test_stop_ends_a_download_that_waits_for_a_disk(tmp_path: Path, target: UPath) -> None:
    source = tmp_path / "x.parquet"
    source.write_bytes(CONTENT)
    released = threading.Event()

    def slow(descriptor: int) -> None:
        released.wait(10)

    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", slow)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(DownloadError, match="stopped"):
            download(str(source), target, PARQUET, Backoff(stop=stop))
        assert time.monotonic() - begin < 3
        released.set()
    timer.join()


def test_trickling_body_ends_at_the_time_limit(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_SECONDS", "1")
    publisher.misbehave[PATH] = [trickle(b".", 0.05)]
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"within 1 s; .* set TAXI_DOWNLOAD_MAX_SECONDS"):
        fetch(publisher, target)
    assert time.monotonic() - begin < 5
    assert names(target) == []


def test_trickling_headers_end_at_the_time_limit(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_SECONDS", "1")
    monkeypatch.setattr(published_files, "HEAD_SECONDS", 0.5)
    publisher.misbehave[PATH] = [trickle_headers] * 2
    begin = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        fetch_version(publisher.url + PATH)
    with pytest.raises(DownloadError, match="set TAXI_DOWNLOAD_MAX_SECONDS"):
        fetch(publisher, target)
    assert time.monotonic() - begin < 5


def test_body_of_an_error_page_is_not_read(publisher: Publisher, target: UPath) -> None:
    def endless_error(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(404)
        handler.send_header("Content-Length", str(10**15))
        handler.end_headers()
        handler.close_connection = True
        is_answered.wait(10)

    is_answered = threading.Event()
    publisher.misbehave[PATH] = [endless_error]
    begin = time.monotonic()
    with pytest.raises(NotPublished):
        fetch(publisher, target)
    assert time.monotonic() - begin < 5
    is_answered.set()


@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5"])
def test_limit_that_is_no_number_is_named(
    publisher: Publisher, target: UPath, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", value)
    with pytest.raises(ValueError, match=f"TAXI_DOWNLOAD_MAX_MB is '{value}'; expected"):
        fetch(publisher, target)


def test_length_of_5000_digits_counts_as_none(publisher: Publisher, target: UPath) -> None:
    publisher.misbehave[PATH] = [body(CONTENT, announced="9" * 5000)]
    assert fetch(publisher, target)


def test_beginning_in_small_pieces_is_checked_as_one(publisher: Publisher, target: UPath) -> None:
    def pieces(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for piece in (CONTENT[:2], CONTENT[2:]):
            handler.wfile.write(piece)
            time.sleep(0.1)

    publisher.misbehave[PATH] = [pieces]
    assert fetch(publisher, target)


@pytest.fixture
def mirror(publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Publisher:
    """A publisher that is TLC_SOURCE_URL, with a token, and a `.netrc` with other credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login stray password stray\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("TLC_SOURCE_URL", f"{publisher.url}/")
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "t0ken")
    publisher.files[PATH] = CONTENT
    return publisher


def test_mirror_gets_the_token_and_not_the_netrc(mirror: Publisher, target: UPath) -> None:
    fetch_version(mirror.url + PATH)
    fetch(mirror, target)
    assert mirror.authorizations == ["Bearer t0ken"] * 2


def test_redirect_sends_no_token_to_another_host(mirror: Publisher, target: UPath) -> None:
    localhost = mirror.url.replace("127.0.0.1", "localhost")
    mirror.misbehave["/moved.parquet"] = [status(302, Location=localhost + PATH)]
    download(f"{mirror.url}/moved.parquet", target, PARQUET)
    download(localhost + PATH, target, PARQUET)
    assert mirror.authorizations == ["Bearer t0ken", None, None]


@pytest.mark.parametrize(
    ("source", "setting"),
    [
        ("http://mirror.example.org", "TLC_SOURCE_TOKEN"),
        ("http://127.0.0.1.example.org/tlc", "TLC_SOURCE_TOKEN"),
    ],
)
def test_token_is_not_sent_over_plain_http(
    target: UPath, monkeypatch: pytest.MonkeyPatch, source: str, setting: str
) -> None:
    monkeypatch.setenv("TLC_SOURCE_URL", source)
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "t0ken")
    monkeypatch.setattr("socket.create_connection", pytest.fail)
    for attempt in (lambda: fetch_version(source + PATH), lambda: download(source + PATH, target)):
        with pytest.raises(DownloadError, match=f"{setting}: .*{source}.*use an https") as refused:
            attempt()
        assert "t0ken" not in str(refused.value)


def test_password_is_not_sent_over_plain_http(
    target: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.create_connection", pytest.fail)
    with pytest.raises(DownloadError, match=r"TAXI_ZONES_URL: .*use an https") as refused:
        download("http://me:hunter2@example.org/zones.csv", target)
    assert "hunter2" not in str(refused.value)


def with_user(address: str) -> str:
    return address.replace("://", "://me:hunter2@") + "?token=hunter2"


def test_user_in_an_address_is_sent_and_never_shown(publisher: Publisher, target: UPath) -> None:
    address = with_user(publisher.url + PATH)
    publisher.files[address.partition(publisher.url[7:])[2]] = CONTENT
    download(address, target, PARQUET)
    assert publisher.authorizations == ["Basic bWU6aHVudGVyMg=="]
    for file in target.parent.iterdir():
        assert b"hunter2" not in file.read_bytes()
    metadata = SourceMetadata.load_verified(target)
    assert metadata is not None
    assert metadata.address == f"{publisher.url}{PATH}?token=***"


@pytest.mark.parametrize(
    "answer",
    [
        status(403),
        status(500),
        status(418),
        body(CONTENT[:9], announced=99),
        body(b"<html>"),
        status(302, Location="http://you:hunter2@127.0.0.1:9/a?token=hunter2"),
        status(302, Location="gopher://you:hunter2@x/"),
    ],
)
def test_no_error_shows_the_secrets_of_an_address(
    publisher: Publisher, target: UPath, answer: Answer
) -> None:
    address = with_user(publisher.url + PATH)
    path = f"{PATH}?token=hunter2"
    publisher.misbehave[path] = [answer]
    with pytest.raises(DownloadError) as raised:
        download(address, target, PARQUET, Backoff(1))
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("host", ["127.0.0.1:9", "127.0.0.1:port", "no such host", ""])
def test_no_error_of_a_connection_shows_secrets(target: UPath, host: str) -> None:
    with pytest.raises(DownloadError) as raised:
        download(f"https://me:hunter2@{host}/a?token=hunter2", target, PARQUET, Backoff(1))
    assert "hunter2" not in str(raised.value)


def test_older_metadata_with_a_password_is_cleaned(publisher: Publisher, target: UPath) -> None:
    publisher.files[PATH] = CONTENT
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    address = publisher.url.replace("://", "://me:hunter2@") + PATH
    file = target.with_name(f"{target.name}.source.json")
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "address": address}))
    assert not download(address, target, PARQUET).fetched
    assert json.loads(file.read_text()) == values
    file.write_text(json.dumps({**values, "address": address}))
    assert not fetch(publisher, target)
    assert json.loads(file.read_text()) == values
