"""A secret from AWS Secrets Manager, used in a run, and found nowhere afterwards."""

import io
import json
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest
from rich.console import Console

from taxi_platform.__main__ import load_settings
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.sample import write_sample
from taxi_platform.workspace import locations
from taxi_shared.ranges import range_tags

TOKEN = "s3cr3t-7d1f0c"
PASSWORD = "hunter2-4b9e"
MONTH = "2023-01-01"


class Mirror(SimpleHTTPRequestHandler):
    """TLC's files for those who have the token; under another name, the password."""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        password = b64encode(f"me:{PASSWORD}".encode()).decode()
        host = self.headers["Host"].partition(":")[0]
        expected = {"127.0.0.1": f"Bearer {TOKEN}", "localhost": f"Basic {password}"}[host]
        if self.headers.get("Authorization") != expected:
            self.send_error(401)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        pass


class SecretsManager(BaseHTTPRequestHandler):
    """AWS Secrets Manager as far as GetSecretValue goes."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        known = asked["SecretId"] == "taxi-platform"
        answer = (
            {"Name": "taxi-platform", "SecretString": json.dumps({"TLC_SOURCE_TOKEN": TOKEN})}
            if known
            else {"__type": "ResourceNotFoundException", "message": "there is no such secret"}
        )
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def files_with(text: str, *folders: Path) -> list[Path]:
    """The files below folders, databases and logs among them, that hold a text."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if text.encode() in file.read_bytes()]


@pytest.mark.system
def test_secret_reaches_the_source_and_is_stored_nowhere(tmp_path: Path) -> None:
    write_sample(tmp_path / "source", [date(2023, 1, 1)], 1_000)
    home, data = tmp_path / "home", tmp_path / "data"
    with (
        served(partial(Mirror, directory=str(tmp_path / "source"))) as mirror,
        served(SecretsManager) as aws,
    ):
        environment = {
            "TAXI_ENVIRONMENT": "production",
            "TAXI_DATA_ROOT": str(data),
            "TLC_SOURCE_URL": mirror,
            "TAXI_ZONES_URL": mirror.replace("127.0.0.1", f"me:{PASSWORD}@localhost")
            + "/misc/taxi_zones.csv",
            "TAXI_START_DATE": MONTH,
            "TAXI_END_DATE": "2023-02-01",
            "TAXI_SECRETS": "taxi-platform",
            "TAXI_LOG_FORMAT": "json",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-key-s-secret",
        }
        with Instance(
            home, daemon=False, environment=environment, served=locations()[:1]
        ) as instance:
            pipeline = Pipeline(instance, Console(quiet=True))
            tags = range_tags(MONTH, MONTH)
            pipeline.run(pipeline.start("a month", "ingestion", "trip_update_job", tags=tags))
            assert {m.asset for m in pipeline.materialized} >= {"taxi_trips", "taxi_zones"}
            config = instance.graphql.ask(
                """{ runsOrError { ... on Runs { results { runConfigYaml tags { value } } } }
                  repositoriesOrError { ... on RepositoryConnection { nodes {
                    allTopLevelResourceDetails { name configuredValues { key value } } } } } }"""
            )
    assert TOKEN not in json.dumps(config)
    assert PASSWORD not in json.dumps(config)
    assert "TLC_SOURCE_URL" in json.dumps(config)  # the name of a variable, in the resource's page
    assert files_with(mirror, home, data)  # an address that is no secret is found in several
    assert files_with(TOKEN, home, data) == []
    assert files_with(PASSWORD, home, data) == []
    assert files_with("a-key-s-secret", home, data) == []


def test_env_file_adds_no_token_to_keys_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("AWS_ACCESS_KEY_ID=a\nAWS_SESSION_TOKEN=t\nTAXI_UI_HOSTS=b\n")
    monkeypatch.setattr("os.environ", {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "s"})
    load_settings(file)
    assert os.environ == {
        "AWS_ACCESS_KEY_ID": "mine",
        "AWS_SECRET_ACCESS_KEY": "s",
        "TAXI_UI_HOSTS": "b",
    }
    monkeypatch.setattr("os.environ", {})
    load_settings(file)
    assert os.environ["AWS_SESSION_TOKEN"] == "t"
