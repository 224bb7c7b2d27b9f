"""A file is fetched whole and checked, or the old one stays and the reason is told."""

import gzip
import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from upath import UPath

from ingestion.lib import download as downloads
from ingestion.lib.download import (
    DownloadError,
    Forbidden,
    NotPublished,
    Backoff,
    SourceMetadata,
    TransientError,
    download,
    fetch_version,
    is_parquet,
)

from .conftest import Publisher, body, status

PARQUET = b"PAR1" + bytes(range(256)) * 40 + b"PAR1"
QUICK = Backoff(attempts=4, first_wait_seconds=0.01)
PATH = "/trip-data/yellow_tripdata_2023-03.parquet"


@pytest.fixture
def target(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "raw" / "taxi_trips_2023-03.parquet")


def fetch(publisher: Publisher, target: UPath) -> bool:
    return download(publisher.url + PATH, target, check=is_parquet, backoff=QUICK).fetched


def names(target: UPath) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_a_published_file_arrives_whole_with_its_receipt(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    assert fetch(publisher, target)
    assert target.read_bytes() == PARQUET
    metadata = SourceMetadata.load_verified(target)
    assert metadata is not None
    assert (metadata.version.etag, metadata.bytes) == ('"one"', len(PARQUET))


@pytest.mark.parametrize("code", [403, 404])
def test_a_month_that_is_not_published_fails_without_another_try(publisher, target, code):
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
    backoff = Backoff(attempts=2, first_wait_seconds=0.01, longest_wait_seconds=0.2)
    with pytest.raises(TransientError) as raised:
        download(publisher.url + PATH, target, backoff=backoff)
    assert raised.value.wait_seconds == 7


@pytest.mark.parametrize("code", [403, 429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("soon", None), ("", None), ("9" * 5000, None)],
    ids=["seconds", "no number", "empty", "many digits"],
)
def test_wait_is_what_the_server_says(publisher, code, value, seconds):
    publisher.misbehave[PATH] = [status(code, Retry_After=value)]
    with pytest.raises(DownloadError) as raised:
        fetch_version(publisher.url + PATH)
    assert raised.value.wait_seconds == seconds


def test_wait_may_be_said_as_a_date(publisher):
    then = datetime.now(UTC) + timedelta(hours=1)
    publisher.misbehave[PATH] = [status(429, Retry_After=format_datetime(then, usegmt=True))]
    with pytest.raises(TransientError) as raised:
        fetch_version(publisher.url + PATH)
    assert 3000 < raised.value.wait_seconds <= 3600


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "begins with b'<!DOCTYPE"),
        (PARQUET[:-9], "not a whole Parquet file"),
        (b"", "begins with b''"),
        (b"PAR1", "is not a whole Parquet file: it has 4 bytes, expected at least 12"),
        (b"PAR1PAR1", "is not a whole Parquet file: it has 8 bytes, expected at least 12"),
        (b"PARE" + PARQUET[4:-4] + b"PARE", r"2023-03\.parquet is an encrypted Parquet file"),
    ],
    ids=["a web page", "truncated at the source", "empty", "PAR1", "PAR1PAR1", "encrypted"],
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


def test_file_url_serves_as_well(tmp_path, target):
    source = tmp_path / "a folder" / "100%.parquet"
    source.parent.mkdir()
    source.write_bytes(PARQUET)
    for address in (source.as_uri(), source.as_uri().replace("file://", "file://localhost")):
        assert fetch_version(address).bytes == len(PARQUET)
        assert download(address, target, check=is_parquet).fetched
        assert not download(address, target, check=is_parquet).fetched
    with pytest.raises(NotPublished, match="no such file"):
        fetch_version(source.with_name("other.parquet").as_uri())
    with pytest.raises(DownloadError, match=r"has the host 'server'; expected file:///folder/…"):
        fetch_version("file://server/other.parquet")


def test_missing_source_folder_is_no_missing_month(tmp_path, target):
    address = str(tmp_path / "mount" / "trip-data" / "yellow_tripdata_2023-03.parquet")
    with pytest.raises(DownloadError, match=f"there is no folder {tmp_path}/mount") as raised:
        download(address, target)
    assert not isinstance(raised.value, NotPublished | TransientError)
    (tmp_path / "mount").mkdir()
    with pytest.raises(NotPublished):
        download(address, target)


def test_folder_in_place_of_a_file_is_named(tmp_path, target):
    with pytest.raises(DownloadError, match="is a folder or a device; expected a file"):
        download(str(tmp_path), target)


@pytest.mark.parametrize("code", [405, 501])
def test_mirror_without_head_is_asked_by_get(publisher, code):
    def first_byte(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers["Range"])
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-0/{len(PARQUET)}")
        handler.send_header("Content-Length", "1")
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(PARQUET[:1])

    asked: list[str] = []
    publisher.misbehave[PATH] = [status(code), first_byte]
    version = fetch_version(publisher.url + PATH)
    assert (version.etag, version.bytes, asked) == ('"one"', len(PARQUET), ["bytes=0-0"])


def test_mirror_without_head_and_ranges_sends_no_body(publisher):
    publisher.misbehave[PATH] = [status(405), trickle(b"." * 1000, 0.01)]
    publisher.misbehave[PATH + "2"] = [status(405), body(PARQUET, announced=10**12)]
    assert fetch_version(publisher.url + PATH).bytes is None
    assert fetch_version(publisher.url + PATH + "2").bytes == 10**12


def test_mirror_that_compresses_all_the_same_is_decoded(publisher, target):
    content = gzip.compress(PARQUET)

    def compressed(content: bytes, announced: int) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Encoding", "gzip")
            handler.send_header("Content-Length", str(announced))
            handler.end_headers()
            handler.wfile.write(content)
            handler.close_connection = True

        return answer

    assert len(content) != len(PARQUET)
    publisher.misbehave[PATH] = [
        compressed(content[:-50], len(content)),  # and once the connection is cut
        compressed(content, len(content)),
    ]
    assert fetch(publisher, target)
    assert target.read_bytes() == PARQUET
    metadata = SourceMetadata.load_verified(target)
    assert metadata is not None
    assert (metadata.bytes, metadata.version.bytes) == (len(PARQUET), None)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"address": "x"}', b"\xff"])
def test_unreadable_receipt_is_none(publisher, target, content):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.with_name(f"{target.name}.source.json").write_bytes(content)
    assert SourceMetadata.load(target) is None
    assert fetch(publisher, target)
    assert not fetch(publisher, target)


def test_file_without_a_receipt_is_fetched_again(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    target.with_name(f"{target.name}.source.json").unlink()
    assert fetch(publisher, target)


def test_full_disk_is_named_and_not_tried_again(publisher, target, monkeypatch):
    @contextmanager
    def full(path):
        with open("/dev/full", "wb") as file:
            yield file

    publisher.files[PATH] = PARQUET
    monkeypatch.setattr("taxi_shared.storage.atomic_open", full)
    with pytest.raises(DownloadError) as raised:
        fetch(publisher, target)
    assert str(raised.value).startswith(f"no space left on {target.parent} for {target.name}")
    assert len(publisher.requests) == 1


def test_looking_does_not_fetch(publisher):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    assert fetch_version(publisher.url + PATH).etag == '"one"'
    assert publisher.requests == [("HEAD", PATH)]
    with pytest.raises(NotPublished):
        fetch_version(publisher.url + "/other.parquet")


def test_a_stop_ends_a_download_between_two_attempts(publisher, target):
    stop = threading.Event()
    stop.set()
    publisher.files[PATH] = PARQUET
    with pytest.raises(DownloadError, match="stopped"):
        download(publisher.url + PATH, target, stop=stop)
    assert names(target) == []


def test_a_server_that_is_down_is_a_failure_that_may_pass(target):
    with pytest.raises(TransientError):
        download("http://127.0.0.1:9/x.parquet", target, backoff=Backoff(2, 0.01))


def test_announced_size_over_the_limit_is_refused_unread(publisher, target, monkeypatch):
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", "1")
    publisher.misbehave[PATH] = [body(PARQUET, announced=1_000_001)]
    with pytest.raises(DownloadError) as refused:
        fetch(publisher, target)
    assert str(refused.value) == (
        f"{publisher.url}{PATH} is larger than 1 MB; if it is the right file, set "
        "TAXI_DOWNLOAD_MAX_MB to more"
    )
    assert len(publisher.requests) == 1
    assert names(target) == []


def trickle(chunk: bytes, seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
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


def test_unannounced_size_over_the_limit_leaves_nothing(publisher, target, monkeypatch):
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", "1")
    publisher.misbehave[PATH] = [trickle(b"." * 50_000, 0)]
    with pytest.raises(DownloadError, match=r"larger than 1 MB.*TAXI_DOWNLOAD_MAX_MB"):
        fetch(publisher, target)
    assert names(target) == []


def test_trickling_body_ends_after_the_longest_time(publisher, target, monkeypatch):
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_SECONDS", "1")
    publisher.misbehave[PATH] = [trickle(b".", 0.05)]
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"within 1 s; .* set TAXI_DOWNLOAD_MAX_SECONDS"):
        fetch(publisher, target)
    assert time.monotonic() - begin < 5
    assert names(target) == []


def trickle_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nETag: ")
        for _ in range(400):
            handler.wfile.write(b".")
            time.sleep(0.05)
    except OSError:
        pass


def test_trickling_headers_end_after_the_longest_time(publisher, target, monkeypatch):
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_SECONDS", "1")
    monkeypatch.setattr(downloads, "HEAD_SECONDS", 0.5)
    publisher.misbehave[PATH] = [trickle_headers] * 2
    begin = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        fetch_version(publisher.url + PATH)
    with pytest.raises(DownloadError, match="set TAXI_DOWNLOAD_MAX_SECONDS"):
        fetch(publisher, target)
    assert time.monotonic() - begin < 5


def test_body_of_an_error_page_is_not_read(publisher, target):
    def endless_error(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(404)
        handler.send_header("Content-Length", str(10**15))
        handler.end_headers()
        handler.close_connection = True
        time.sleep(2)

    publisher.misbehave[PATH] = [endless_error]
    begin = time.monotonic()
    with pytest.raises(NotPublished):
        fetch(publisher, target)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5"])
def test_limit_that_is_no_number_is_named(publisher, target, monkeypatch, value):
    monkeypatch.setenv("TAXI_DOWNLOAD_MAX_MB", value)
    with pytest.raises(ValueError, match=f"TAXI_DOWNLOAD_MAX_MB is '{value}'; expected"):
        fetch(publisher, target)


def test_length_of_5000_digits_counts_as_none(publisher, target):
    publisher.misbehave[PATH] = [body(PARQUET, announced="9" * 5000)]
    assert fetch(publisher, target)


def test_small_pieces_count_as_one_beginning(publisher, target):
    def pieces(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(PARQUET)))
        handler.end_headers()
        for piece in (PARQUET[:2], PARQUET[2:]):
            handler.wfile.write(piece)
            time.sleep(0.1)

    publisher.misbehave[PATH] = [pieces]
    assert fetch(publisher, target)


@pytest.fixture
def mirror(publisher, monkeypatch, tmp_path) -> Publisher:
    """A publisher that is TLC_SOURCE_URL, with a token, and a `.netrc` with other credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login stray password stray\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("TLC_SOURCE_URL", f"{publisher.url}/")
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "t0ken")
    publisher.files[PATH] = PARQUET
    return publisher


def test_mirror_gets_the_token_whatever_netrc_has(mirror, target):
    fetch_version(mirror.url + PATH)
    fetch(mirror, target)
    assert mirror.authorizations == ["Bearer t0ken"] * 2


def test_another_host_gets_no_token_by_redirect(mirror, target):
    localhost = mirror.url.replace("127.0.0.1", "localhost")
    mirror.misbehave["/moved.parquet"] = [status(302, Location=localhost + PATH)]
    download(f"{mirror.url}/moved.parquet", target, check=is_parquet)
    download(localhost + PATH, target, check=is_parquet)
    assert mirror.authorizations == ["Bearer t0ken", None, None]


@pytest.mark.parametrize(
    ("source", "setting"),
    [
        ("http://mirror.example.org", "TLC_SOURCE_TOKEN"),
        ("http://127.0.0.1.example.org/tlc", "TLC_SOURCE_TOKEN"),
    ],
)
def test_token_is_not_sent_over_plain_http(target, monkeypatch, source, setting):
    monkeypatch.setenv("TLC_SOURCE_URL", source)
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "t0ken")
    monkeypatch.setattr("socket.create_connection", pytest.fail)
    for attempt in (lambda: fetch_version(source + PATH), lambda: download(source + PATH, target)):
        with pytest.raises(DownloadError, match=f"{setting}: .*{source}.*use an https") as refused:
            attempt()
        assert "t0ken" not in str(refused.value)


def test_password_is_not_sent_over_plain_http(target, monkeypatch):
    monkeypatch.setattr("socket.create_connection", pytest.fail)
    with pytest.raises(DownloadError, match=r"TAXI_ZONES_URL: .*use an https") as refused:
        download("http://me:hunter2@example.org/zones.csv", target)
    assert "hunter2" not in str(refused.value)


def with_user(address: str) -> str:
    return address.replace("://", "://me:hunter2@") + "?token=hunter2"


def test_user_in_an_address_is_used_and_never_shown(publisher, target):
    address = with_user(publisher.url + PATH)
    publisher.files[address.partition(publisher.url[7:])[2]] = PARQUET
    download(address, target, check=is_parquet)
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
        body(PARQUET[:9], announced=99),
        body(b"<html>"),
        status(302, Location="http://you:hunter2@127.0.0.1:9/a?token=hunter2"),
        status(302, Location="gopher://you:hunter2@x/"),
    ],
)
def test_no_error_shows_the_secrets_of_an_address(publisher, target, answer):
    address = with_user(publisher.url + PATH)
    path = f"{PATH}?token=hunter2"
    publisher.misbehave[path] = [answer]
    with pytest.raises(DownloadError) as raised:
        download(address, target, check=is_parquet, backoff=Backoff(1))
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("host", ["127.0.0.1:9", "127.0.0.1:port", "no such host", ""])
def test_no_error_of_a_connection_shows_secrets(target, host):
    with pytest.raises(DownloadError) as raised:
        download(f"https://me:hunter2@{host}/a?token=hunter2", target, backoff=Backoff(1))
    assert "hunter2" not in str(raised.value)


def test_older_receipt_with_a_password_is_kept_and_cleaned(publisher, target):
    publisher.files[PATH] = PARQUET
    publisher.etags[PATH] = '"one"'
    fetch(publisher, target)
    address = publisher.url.replace("://", "://me:hunter2@") + PATH
    file = target.with_name(f"{target.name}.source.json")
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "address": address}))
    assert not download(address, target, check=is_parquet).fetched
    assert json.loads(file.read_text()) == values
    file.write_text(json.dumps({**values, "address": address}))
    assert not fetch(publisher, target)
    assert json.loads(file.read_text()) == values
