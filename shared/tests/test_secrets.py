"""Secrets come from the environment first, and never into a message."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import duckdb
import pytest

from taxi_shared import s3, storage
from taxi_shared.secrets import SecretError, secret


@pytest.fixture
def manager(monkeypatch):
    """What AWS Secrets Manager has under the name `taxi-platform`."""
    boto3 = pytest.importorskip("boto3")
    stored = {"SecretString": '{"TLC_SOURCE_TOKEN": "from AWS"}'}

    class Client:
        def get_secret_value(self, SecretId):
            assert SecretId == "taxi-platform"
            return stored

    monkeypatch.setattr(boto3, "client", lambda service, **options: Client())
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    return stored


def test_the_environment_comes_first(manager, monkeypatch):
    assert secret("source_token") == "from AWS"
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "from the environment")
    assert secret("source_token") == "from the environment"


def test_a_secret_that_nobody_has_is_empty(manager, monkeypatch):
    assert secret("alert_webhook") == ""
    monkeypatch.delenv("TAXI_SECRETS")
    assert secret("source_token") == ""


@pytest.mark.parametrize(
    "text", ["hunter2", '["hunter2"]', '{"TLC_SOURCE_TOKEN": {"value": "hunter2"}}']
)
def test_a_secret_of_another_form_is_refused_without_its_value(manager, text):
    manager["SecretString"] = text
    with pytest.raises(SecretError, match="taxi-platform: expected a JSON object") as refused:
        secret("source_token")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_where_secrets_manager_cannot_be_reached_the_setting_is_named(monkeypatch):
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SecretError, match="TAXI_SECRETS=taxi-platform: You must specify a region"):
        secret("source_token")


def test_keys_of_a_secret_get_no_token_of_other_keys(monkeypatch):
    """s3fs and DuckDB both find AWS_SESSION_TOKEN, which belongs to the keys beside it."""
    signed = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "").partition("Credential=")[2].split("/")[0]
            signed.append((key, self.headers.get("X-Amz-Security-Token")))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "ambient",
        "AWS_SECRET_ACCESS_KEY": "ambient",
        "AWS_SESSION_TOKEN": "ambient",
        "TAXI_S3_SECRET": "taxi/s3",
    }.items():
        monkeypatch.setenv(name, value)
    s3.clear_caches()
    monkeypatch.setattr(s3, "_keys_in", lambda secret_id: s3.Keys("theirs", "theirs", ""))
    with suppress(OSError):
        storage.read_bytes(storage.path_at("s3://bucket/a"))
    by_s3fs = len(signed)
    with duckdb.connect() as con:
        s3.attach(con)
        with suppress(duckdb.Error):
            con.execute("FROM read_parquet('s3://bucket/a.parquet')")
    server.shutdown()
    server.server_close()
    assert 0 < by_s3fs < len(signed)
    assert set(signed) == {("theirs", None)}
