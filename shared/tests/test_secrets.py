"""Secrets come from the environment first, and are in no message."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import duckdb
import pytest
from upath import UPath

from taxi_shared import s3, storage
from taxi_shared.secrets import SecretError, secret
from taxi_testing.web_service import WebService, serving


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The secret `taxi-platform` of AWS Secrets Manager."""
    boto3 = pytest.importorskip("boto3")
    stored = {"SecretString": '{"TLC_SOURCE_TOKEN": "from AWS"}'}

    class Client:
        def get_secret_value(self, **request: str) -> dict[str, str]:
            assert request == {"SecretId": "taxi-platform"}
            return stored

    monkeypatch.setattr(boto3, "client", lambda service, **options: Client())
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    return stored


def test_environment_comes_first(manager: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret("source_token") == "from AWS"
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "from the environment")
    assert secret("source_token") == "from the environment"


def test_missing_secret_is_empty(manager: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret("alert_webhook") == ""
    monkeypatch.delenv("TAXI_SECRETS")
    assert secret("source_token") == ""


def test_secret_in_the_environment_needs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_SECRETS", "unreachable")
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "from the environment")
    assert secret("source_token") == "from the environment"


@pytest.mark.parametrize(
    "text", ["hunter2", '["hunter2"]', '{"TLC_SOURCE_TOKEN": {"value": "hunter2"}}']
)
def test_malformed_secret_is_refused_without_its_value(manager: dict[str, str], text: str) -> None:
    manager["SecretString"] = text
    with pytest.raises(SecretError, match="taxi-platform: expected a JSON object") as refused:
        secret("source_token")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_unreachable_secrets_manager_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SecretError, match="TAXI_SECRETS=taxi-platform: You must specify a region"):
        secret("source_token")


def test_keys_of_a_secret_get_no_other_session_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_SESSION_TOKEN belongs to the keys of the environment; s3fs and DuckDB both read it."""
    keys = json.dumps({"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "theirs"})
    signed: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "").partition("Credential=")[2].split("/")[0]
            signed.append((key, self.headers.get("X-Amz-Security-Token")))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:  # GetSecretValue, of AWS Secrets Manager
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"SecretString": keys}).encode())

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
    with suppress(OSError):
        storage.read_bytes(storage.path_at("s3://bucket/a"))
    by_s3fs = len(signed)
    with duckdb.connect() as con:
        s3.attach(con, UPath("s3://bucket"))
        with suppress(duckdb.Error):
            con.execute("FROM read_parquet('s3://bucket/a.parquet')")
    server.shutdown()
    server.server_close()
    assert 0 < by_s3fs < len(signed)
    assert set(signed) == {("theirs", None)}
    s3.clear_caches()


class Google(WebService):
    """Google's token endpoint and Secret Manager, as far as reading a secret goes."""

    payload = '{"TLC_SOURCE_TOKEN": "from Google"}'
    asked: ClassVar[list[str]] = []

    def respond(self) -> None:
        if self.command == "POST":
            assert self.path == "/token"
            token = {"access_token": "t0ken", "expires_in": 3600, "token_type": "Bearer"}
            self.answer_json(200, token)
        else:
            self.give_secret()

    def give_secret(self) -> None:
        self.asked.append(self.path)
        if self.headers["Authorization"] != "Bearer t0ken":
            self.answer_json(401, {})
        elif self.path == "/v1/projects/p-1/secrets/taxi/versions/latest:access":
            data = b64encode(self.payload.encode()).decode()
            self.answer_json(200, {"name": "projects/1/secrets/taxi", "payload": {"data": data}})
        else:
            self.answer_json(404, {"error": {"status": "NOT_FOUND"}})


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Google]]:
    """A service account of Google's, with the key that google-auth signs its requests with."""
    pytest.importorskip("google.auth")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with serving(Google) as host:
        address = f"http://{host}"
        account = {
            "type": "service_account",
            "client_email": "taxi@p-1.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "token_uri": f"{address}/token",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", f"{address}/")
        monkeypatch.setenv("TAXI_SECRETS", "gcp:projects/p-1/secrets/taxi")
        monkeypatch.setattr(Google, "payload", Google.payload)
        Google.asked.clear()
        yield Google


def test_secret_is_read_from_google(google: type[Google]) -> None:
    assert secret("source_token") == "from Google"
    assert secret("alert_webhook") == ""


def test_malformed_secret_of_google_is_not_quoted(google: type[Google]) -> None:
    google.payload = "hunter2"
    with pytest.raises(SecretError, match="secrets/taxi: expected a JSON object") as refused:
        secret("source_token")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_other_version_of_google_is_named(
    google: type[Google], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "projects/p-1/locations/europe-west3/secrets/taxi"
    monkeypatch.setenv("TAXI_SECRETS", f"gcp:{name}/versions/3")
    with pytest.raises(SecretError, match=f"TAXI_SECRETS=gcp:{name}/versions/3: HTTP 404"):
        secret("source_token")
    assert google.asked == [f"/v1/{name}/versions/3:access"]


@pytest.mark.parametrize(
    "name", ["", "taxi", "projects/p/secrets/../../q", "projects/p/secrets/s?"]
)
def test_malformed_name_of_google_sends_nothing(
    google: type[Google], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TAXI_SECRETS", f"gcp:{name}")
    with pytest.raises(SecretError, match="expected gcp:projects/NAME/secrets/NAME"):
        secret("source_token")
    assert google.asked == []


def test_google_is_asked_over_https_only(
    google: type[Google], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "http://secrets.example.org"
    )
    with pytest.raises(SecretError, match="is not an https:// address"):
        secret("source_token")


def test_missing_credentials_of_google_are_an_error(
    google: type[Google], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(SecretError, match=r"TAXI_SECRETS=gcp:projects/p-1/secrets/taxi: .*nowhere"):
        secret("source_token")
