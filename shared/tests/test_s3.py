"""Errors of S3 say what to do, keys are renewed, and readers see whole tables."""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from botocore.session import Session
from upath import UPath

from taxi_shared import s3, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_shared.s3 import S3Error
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS
from taxi_testing.lakes import Month
from taxi_testing.object_store import S3Server

JANUARY = "2023-01-01"
ONE_TRIP = Rows("SELECT 1 AS vendor_id")


def use(root: str) -> None:
    """Open a connection, as every run does first."""
    with LakeDatabase(data_root=root).get_connection():
        pass


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "the keys are refused: check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "the keys are refused: check AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "nothing answers there: check AWS_ENDPOINT_URL"),
        ("AWS_PROFILE", "nobody", "the configuration of AWS has no such profile: check"),
    ],
)
def test_error_names_the_variable_to_correct(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    use(s3_root)
    monkeypatch.setenv(variable, value)
    s3.clear_caches()
    with pytest.raises(S3Error, match=f"{s3_root}.*: {reason}"):
        use(s3_root)


def test_missing_keys_are_named(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3.clear_caches()
    with pytest.raises(S3Error, match="no keys are found: set AWS_ACCESS_KEY_ID and"):
        use(s3_root)


def test_missing_bucket_is_not_an_empty_lake(s3_root: str, object_store: S3Server) -> None:
    bucket = object_store.new_bucket()
    root = f"{bucket}/data"
    use(root)
    object_store.client().delete_bucket(Bucket=bucket.removeprefix("s3://"))
    for attempt in (
        lambda: use(root),
        DataRoot.at(root).check,
        lambda: LakeDatabase(data_root=root).lake.snapshot().versions(TRIPS),
    ):
        with pytest.raises(S3Error, match=f"{bucket}.*: there is no such bucket: create it"):
            attempt()


def test_amazons_s3_requires_a_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    s3.clear_caches()
    with pytest.raises(S3Error, match="no region is set; set AWS_REGION to that of the bucket"):
        DataRoot.at("s3://bucket/data").check()


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_duckdb_gets_amazons_server_and_region(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    s3.clear_caches()
    with duckdb.connect() as con:
        s3.attach(con, UPath("s3://bucket"))
        ((secret,),) = con.execute("SELECT secret_string FROM duckdb_secrets()").fetchall()
    assert "endpoint=s3.eu-west-1.amazonaws.com" in secret
    assert {"key_id=an-id", "region=eu-west-1", "url_style=vhost"} <= set(secret.split(";"))
    assert "a-secret" not in secret


def test_reader_sees_one_version_of_a_month(s3_root: str) -> None:
    """Replace months of 100,000 equal rows while others read."""
    database = LakeDatabase(data_root=s3_root)
    lake, rows = database.lake, 100_000
    done = threading.Event()
    seen: set[tuple[int, int, int]] = set()

    def write(con: duckdb.DuckDBPyConnection, value: int) -> None:
        query = f"SELECT $value AS vendor_id, hash(range) AS pickup_longitude FROM range({rows})"
        Month(JANUARY, Rows(query, {"value": value})).write(con, lake)

    def read() -> None:
        while not done.is_set():
            query = "SELECT min(vendor_id), max(vendor_id), count(pickup_longitude) FROM trips"
            with database.get_connection() as con:
                seen.update(con.execute(query).fetchall())

    with database.get_connection() as con:
        write(con, 0)
        with ThreadPoolExecutor(3) as threads:
            readers = [threads.submit(read) for _ in range(3)]
            try:
                for value in range(1, 15):
                    write(con, value)
            finally:
                done.set()
        for reader in readers:
            reader.result()
    assert {(first, count) for first, _, count in seen} <= {(v, rows) for v in range(15)}
    assert all(first == last for first, last, _ in seen)
    assert len(seen) > 1


def test_reader_ends_although_its_month_is_replaced(s3_root: str) -> None:
    database = LakeDatabase(data_root=s3_root)

    def write(value: int) -> None:
        query = "SELECT $value AS vendor_id, hash(range) AS pickup_longitude FROM range(2_000_000)"
        with database.get_connection(tables=[]) as con:
            Month(JANUARY, Rows(query, {"value": value})).write(con, database.lake)

    write(1)
    with database.get_connection(options={"threads": 1}) as con:
        con.execute("SELECT vendor_id, pickup_longitude FROM trips")
        assert con.fetchmany(1)[0][0] == 1
        write(2)
        assert {vendor for vendor, _ in con.fetchall()} == {1}


class SecretsManager(BaseHTTPRequestHandler):
    """AWS Secrets Manager, as far as GetSecretValue."""

    secrets: dict[str, str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        secret = self.secrets.get(asked["SecretId"])
        answer = {"SecretString": secret} if secret else {"__type": "ResourceNotFoundException"}
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        self.send_response(200 if secret else 400)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    """The secrets of a Secrets Manager, by name."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    SecretsManager.secrets = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), SecretsManager)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    yield SecretsManager.secrets
    server.shutdown()
    server.server_close()


def test_keys_may_be_in_secrets_manager(
    s3_root: str, object_store: S3Server, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys in the environment may read the secret, and not the bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "may read secrets")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "only")
    monkeypatch.setenv("TAXI_S3_SECRET", "taxi/s3")
    secrets["taxi/s3"] = json.dumps(
        {"AWS_ACCESS_KEY_ID": object_store.key_id, "AWS_SECRET_ACCESS_KEY": object_store.secret}
    )
    s3.clear_caches()
    database = LakeDatabase(data_root=s3_root)
    with database.get_connection() as con:
        Month(JANUARY, ONE_TRIP).write(con, database.lake)
    with database.get_connection() as con:
        assert con.execute("SELECT vendor_id FROM trips").fetchall() == [(1,)]
    assert object_store.secret not in repr(database) + repr(database.lake.root)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "cannot be read: .*ResourceNotFound"),
        ("a password", "is another secret; expected JSON with AWS_ACCESS_KEY_ID and"),
        ('{"user": "me"}', "is another secret; expected JSON with AWS_ACCESS_KEY_ID and"),
    ],
)
def test_missing_or_other_secret_is_named(
    s3_root: str,
    secrets: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    secret: str | None,
    reason: str,
) -> None:
    monkeypatch.setenv("TAXI_S3_SECRET", "taxi/s3")
    if secret:
        secrets["taxi/s3"] = secret
    s3.clear_caches()
    with pytest.raises(S3Error, match=f"TAXI_S3_SECRET 'taxi/s3' {reason}") as raised:
        use(s3_root)
    assert "a password" not in str(raised.value)


def test_endpoint_may_end_with_a_slash(
    s3_root: str, object_store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{object_store.endpoint}/")
    s3.clear_caches()
    database = LakeDatabase(data_root=s3_root)
    write_month(database, JANUARY)
    assert list(database.lake.snapshot().versions(TRIPS)) == [JANUARY]


def test_endpoint_with_a_path_is_refused_by_name(
    s3_root: str, object_store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{object_store.endpoint}/minio")
    s3.clear_caches()
    expected = r"AWS_ENDPOINT_URL .*/minio'; expected scheme, host and"
    with pytest.raises(S3Error, match=expected):
        use(s3_root)
    with pytest.raises(S3Error, match=expected):
        DataRoot.at(s3_root).check()


def test_server_on_this_machine_is_reached_without_the_proxy(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing answers
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "mirror.example.org")
    s3.clear_caches()
    database = LakeDatabase(data_root=s3_root)
    write_month(database, JANUARY)
    assert list(database.lake.snapshot().versions(TRIPS)) == [JANUARY]
    assert os.environ["no_proxy"] == "mirror.example.org,127.0.0.1,localhost,::1"


def write_month(database: LakeDatabase, month: str) -> None:
    """Write a month of one trip."""
    with database.get_connection(tables=[]) as con:
        Month(month, ONE_TRIP).write(con, database.lake)


@pytest.mark.parametrize("error", [PermissionError("no"), OSError(errno.ENOSYS, "no such request")])
def test_uploads_that_cannot_be_listed_are_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    folder = storage.path_at("s3://bucket/data/raw")
    monkeypatch.setattr(folder.fs, "call_s3", refuse)
    assert s3.abort_uploads(folder, datetime.now(UTC)) == []
    assert "allow s3:ListBucketMultipartUploads, or let a rule of the bucket" in caplog.text


@dataclass
class Role:
    """A user of the server with one key at a time."""

    iam: Any
    key_id: str = ""
    secret: str = ""

    def rotate(self) -> None:
        """Make a new key, and end the one before."""
        key = self.iam.create_access_key(UserName="role")["AccessKey"]
        if self.key_id:
            self.iam.delete_access_key(UserName="role", AccessKeyId=self.key_id)
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def role(object_store: S3Server) -> Role:
    """A user of the server who may do everything on S3."""
    iam = Session().create_client(
        "iam",
        region_name="us-east-1",
        endpoint_url=object_store.endpoint,
        aws_access_key_id=object_store.key_id,
        aws_secret_access_key=object_store.secret,
    )
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName="role")
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    iam.put_user_policy(UserName="role", PolicyName="s3", PolicyDocument=document)
    found = Role(iam)
    found.rotate()
    return found


def check_renewal(root: str, rotate: Callable[[], None]) -> None:
    """Use a connection and a root that are open while keys expire and are replaced."""
    database = LakeDatabase(data_root=root)
    lake = database.lake
    with database.get_connection(tables=[]) as con:
        Month(JANUARY, ONE_TRIP).write(con, lake)
        assert list(lake.snapshot().versions(TRIPS)) == [JANUARY]
        rotate()
        with pytest.raises(duckdb.HTTPException, match="InvalidAccessKeyId"):
            Month("2023-02-01", ONE_TRIP).write(con, lake)
        with con.cursor() as cursor:
            lake.root.attach(cursor)
        Month("2023-02-01", ONE_TRIP).write(con, lake)
    assert list(lake.snapshot().versions(TRIPS)) == [JANUARY, "2023-02-01"]


def test_temporary_keys_are_renewed_in_an_open_connection(
    s3_root: str, role: Role, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Take keys from a program that says they expire in a minute; botocore asks before each use."""
    keys, config = tmp_path / "keys.json", tmp_path / "config"

    def rotate() -> None:
        role.rotate()
        end = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        values = {"AccessKeyId": role.key_id, "SecretAccessKey": role.secret, "Expiration": end}
        keys.write_text(json.dumps({"Version": 1, **values}))

    rotate()
    config.write_text(f"[default]\ncredential_process = cat '{keys}'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3.clear_caches()
    check_renewal(s3_root, rotate)


def test_keys_in_secrets_manager_are_read_again(
    s3_root: str, role: Role, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate() -> None:
        role.rotate()
        values = {"AWS_ACCESS_KEY_ID": role.key_id, "AWS_SECRET_ACCESS_KEY": role.secret}
        secrets["taxi/s3"] = json.dumps(values)

    rotate()
    monkeypatch.setattr(s3, "SECRET_REFRESH", timedelta(0))
    monkeypatch.setenv("TAXI_S3_SECRET", "taxi/s3")
    s3.clear_caches()
    check_renewal(s3_root, rotate)


def test_keys_stay_in_use_while_secrets_manager_is_down(
    s3_root: str, object_store: S3Server, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "AWS_ACCESS_KEY_ID": object_store.key_id,
        "AWS_SECRET_ACCESS_KEY": object_store.secret,
    }
    secrets["taxi/s3"] = json.dumps(values)
    monkeypatch.setattr(s3, "SECRET_REFRESH", timedelta(0))
    monkeypatch.setenv("TAXI_S3_SECRET", "taxi/s3")
    s3.clear_caches()
    database = LakeDatabase(data_root=s3_root)
    write_month(database, JANUARY)
    secrets.clear()
    write_month(database, "2023-02-01")
    assert list(database.lake.snapshot().versions(TRIPS)) == [JANUARY, "2023-02-01"]


def test_many_threads_may_renew_a_connections_keys(s3_root: str) -> None:
    database = LakeDatabase(data_root=s3_root)
    with database.get_connection(tables=[]) as con, ThreadPoolExecutor(8) as threads:
        cursors = [con.cursor() for _ in range(8)]
        for _ in range(20):
            list(threads.map(database.lake.root.attach, cursors))
        assert con.execute("SELECT count(*) FROM duckdb_secrets()").fetchone() == (1,)
