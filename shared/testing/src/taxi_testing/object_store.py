"""An S3 server on this machine: SeaweedFS, from its wheel."""

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

START_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    """A SeaweedFS server on this machine: its address and its keys."""

    endpoint: str
    key_id: str = "tests"
    secret: str = "only-for-tests"  # noqa: S105 - of a server that lives as long as a test run

    @property
    def environment(self) -> Mapping[str, str]:
        """AWS's variables, by which the platform finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def new_bucket(self) -> str:
        """Create a bucket and return its address, `s3://…`."""
        name = f"tests-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def delete_bucket(self, address: str) -> None:
        """Delete a bucket and what it holds, if there is one."""
        client, name = self.client(), address.removeprefix("s3://")
        try:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                for each in page.get("Contents", ()):
                    client.delete_object(Bucket=name, Key=each["Key"])
            client.delete_bucket(Bucket=name)
        except client.exceptions.NoSuchBucket:
            return

    def client(self) -> Any:
        """Return a botocore client of this server, whatever the environment has."""
        from botocore.session import Session

        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
        )


def s3_program() -> str | None:
    """Return the path of SeaweedFS, from its wheel or the machine; None where it is missing."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start SeaweedFS with its files in a folder, on free ports of 127.0.0.1.

    Raises RuntimeError where it is not installed or does not answer within START_SECONDS.
    """
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
        process.kill()  # a clean shutdown takes ten seconds, and the files are deleted anyway
        process.wait()


def _wait_for(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=5):  # noqa: S310 - http
                # The server answers a moment before it can store a file.
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
    """Find ports that nothing listens on, outside the range of outgoing connections.

    The server's parts connect to each other while it starts: a connection could take a part's port.
    """
    free: list[int] = []
    with ExitStack() as stack:
        while len(free) < number:
            each = stack.enter_context(socket.socket())
            port = random.randrange(10_000, 30_000)  # noqa: S311 - any free port will do
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
            free.append(port)
    return free
