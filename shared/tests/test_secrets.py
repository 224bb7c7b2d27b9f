"""Secrets come from the environment first, and never into a message."""

import pytest

from taxi_shared import secrets
from taxi_shared.secrets import SecretError, secret


@pytest.fixture
def manager(monkeypatch):
    """What AWS Secrets Manager has under the name `taxi-platform`."""
    boto3 = pytest.importorskip("boto3")
    stored = {"SecretString": '{"TOKEN": "from AWS"}'}

    class Client:
        def get_secret_value(self, SecretId):
            assert SecretId == "taxi-platform"
            return stored

    monkeypatch.setattr(boto3, "client", lambda service: Client())
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    return stored


def test_the_environment_comes_first(manager, monkeypatch):
    assert secret("TOKEN") == "from AWS"
    monkeypatch.setenv("TOKEN", "from the environment")
    assert secret("TOKEN") == "from the environment"


def test_a_secret_that_nobody_has_is_empty(manager, monkeypatch):
    assert secret("ANOTHER") == ""
    monkeypatch.delenv("TAXI_SECRETS")
    assert secret("TOKEN") == ""


@pytest.mark.parametrize("text", ["hunter2", '["hunter2"]', '{"TOKEN": {"value": "hunter2"}}'])
def test_a_secret_of_another_form_is_refused_without_its_value(manager, text):
    manager["SecretString"] = text
    with pytest.raises(SecretError, match="taxi-platform: expected a JSON object") as refused:
        secret("TOKEN")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_where_secrets_manager_cannot_be_reached_the_setting_is_named(monkeypatch):
    monkeypatch.setenv("TAXI_SECRETS", "taxi-platform")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SecretError, match="TAXI_SECRETS=taxi-platform: You must specify a region"):
        secrets.secret("TOKEN")
