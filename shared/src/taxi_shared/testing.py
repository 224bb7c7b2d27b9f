"""What the tests of several locations share. Nothing but tests imports it."""

import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from taxi_shared import s3
from taxi_shared.contracts import uses_of
from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import TABLES

S3_START_SECONDS = 60


def promised_columns(location: str) -> list[tuple[str, str]]:
    """Tables, and the columns that a location was promised of them, but for a folder's name."""
    promised = {
        (table, column)
        for use in uses_of(location)
        for table, columns in use.tables.items()
        for column in columns
    }
    folders = {(table.name, table.partition_by.name) for table in TABLES if table.partition_by}
    return sorted(promised - folders)


def keep_promised_columns(lake: Lake, location: str, without: tuple[str, str] = ("", "")) -> None:
    """Rewrite a lake's files so that they have no column but those promised to a location.

    `without` is a table and a column of it to leave out as well. A column that a folder's name
    holds stays.
    """
    promised = [each for each in promised_columns(location) if each != without]
    for table in TABLES:
        kept = [each.name for each in table.columns if (table.name, each.name) in promised]
        for file in lake.files(table):
            _, _, partition = file.parent.name.partition("=")
            with duckdb.connect() as con:
                query = f"SELECT {', '.join(kept) or '1 AS nothing'} FROM read_parquet($file)"
                lake.write(con, table, Rows(query, {"file": str(file)}), partition)


@dataclass(frozen=True)
class S3Server:
    """A SeaweedFS on this machine: where it answers, and the keys that it takes."""

    endpoint: str
    key_id: str = "tests"
    secret: str = "only-for-tests"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of AWS by which the platform finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def new_bucket(self) -> str:
        """The address of a new bucket, `s3://…`."""
        name = f"tests-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def client(self) -> Any:
        """botocore's client of this server, whatever the environment says."""
        from botocore.session import Session

        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
        )


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for all tests of a session."""
    if s3_program() is None:
        pytest.skip("SeaweedFS is not installed: its wheel is for Linux and Windows")
    with s3_server(tmp_path_factory.mktemp("object-store")) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(object_store: S3Server) -> str:
    """The address of a bucket for all tests of a session."""
    return object_store.new_bucket()


@pytest.fixture
def s3_root(object_store: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A data root of the test's own on S3, which the environment lets the platform use."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    forget_s3()
    yield f"{bucket}/{uuid.uuid4().hex[:12]}"
    forget_s3()


def forget_s3() -> None:
    """Let this process find server and keys anew, as another process would."""
    from s3fs import S3FileSystem

    for found_before in (s3._session, s3._client, s3._session_with_keys, s3._session_of_s3fs):
        found_before.cache_clear()
    S3FileSystem.clear_instance_cache()


def s3_program() -> str | None:
    """SeaweedFS, from its wheel beside this Python or the machine's; None where there is none."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A SeaweedFS with its files in a folder, on free ports of 127.0.0.1. Raises RuntimeError."""
    program = s3_program()
    if program is None:
        raise RuntimeError("SeaweedFS is not installed: its wheel is for Linux")
    port, *others = _free_ports(8)
    names = [
        f"{part}.port{kind}" for part in ("master", "filer", "volume") for kind in ("", ".grpc")
    ]
    server = S3Server(f"http://127.0.0.1:{port}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-s3", f"-s3.port={port}", "-volume.max=1000", "-master.telemetry=false"),
                *("-master.volumeSizeLimitMB=64", "-filer.localSocket="),
                *("-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                "-s3.iam.readOnly=false",  # a test makes keys, and ends them
                *(
                    f"-{name}={other}"
                    for name, other in zip([*names, "s3.port.grpc"], others, strict=True)
                ),
            ],
            env={"AWS_ACCESS_KEY_ID": server.key_id, "AWS_SECRET_ACCESS_KEY": server.secret},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(server, process, folder / "server.log")
        yield server
    finally:
        process.kill()  # it would take ten seconds to end, for the sake of files that go as well
        process.wait()


def _wait_for(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + S3_START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=5):
                # It answers a little before it can keep a file.
                client, bucket = server.client(), server.new_bucket().removeprefix("s3://")
                client.put_object(Bucket=bucket, Key="probe", Body=b"1")
                client.delete_object(Bucket=bucket, Key="probe")
                client.delete_bucket(Bucket=bucket)
                return
        except (OSError, BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS does not answer ({error}):\n{tail}") from error
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    """Ports that nothing listens on, of those that the system gives to no outgoing connection.

    The server's parts connect to each other while it starts: one would take another's port.
    """
    free: list[int] = []
    with ExitStack() as stack:
        while len(free) < number:
            each, port = stack.enter_context(socket.socket()), random.randrange(10_000, 30_000)
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
            free.append(port)
    return free
