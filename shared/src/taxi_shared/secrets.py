"""Secrets: from the environment, or from one secret of AWS or Google.

Read a secret where it is used and pass it to nothing else: not to a resource, whose fields the UI
shows, nor to run config, nor to a message.
"""

import json
import os
import re
from base64 import b64decode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import SecretStr

from taxi_shared import settings
from taxi_shared.addresses import is_confidential

GCP = "gcp:"
GCP_ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"
GCP_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT_SECONDS = 20


class SecretError(Exception):
    """A secret cannot be read. Names the secret, never its value."""


def secret(field: str) -> str:
    """The value of a setting that is a secret, as in `secret("source_token")`.

    That is its environment variable, else the value of that name in the secret TAXI_SECRETS; empty
    where neither has it. Raises SecretError where its service does not return the secret, or
    returns anything but a JSON object of texts.
    """
    current = settings.load()
    value: SecretStr = getattr(current, field)
    if value or not current.secrets:
        return value.get_secret_value()
    if current.secrets.startswith(GCP):
        values = _read_gcp(current.secrets)
    else:
        values = _read_aws(current.secrets, current.aws_region)
    return values.get(settings.variable(field), "")


def _read_aws(secret_id: str, region: str) -> Mapping[str, str]:
    # Imported here: a run without secrets starts faster.
    from botocore.exceptions import BotoCoreError, ClientError
    from pydantic_settings import AWSSecretsManagerSettingsSource

    try:
        source = AWSSecretsManagerSettingsSource(
            settings.Settings, secret_id, region_name=region or None
        )
    except (BotoCoreError, ClientError) as error:
        raise SecretError(f"TAXI_SECRETS={secret_id}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError):
        # Not JSON, or not text: an error of the parser would quote the secret.
        raise _unexpected(secret_id) from None
    return _texts(secret_id, source.env_vars)


def _read_gcp(secret_id: str) -> Mapping[str, str]:
    """The secret of an address such as gcp:projects/p/secrets/s, by the credentials of Google."""
    match = re.fullmatch(
        r"(projects/[\w-]+(?:/locations/([\w-]+))?/secrets/[\w-]+)(/versions/\w+)?",
        secret_id.removeprefix(GCP),
    )
    if not match:
        raise SecretError(f"TAXI_SECRETS={secret_id}: expected gcp:projects/NAME/secrets/NAME")
    name, region, version = match.groups()
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport import requests as transport
    except ImportError:
        raise SecretError(
            f"TAXI_SECRETS={secret_id}: google-auth is not installed; install taxi-shared[gcp]"
        ) from None
    # The variable of Google's own command line, for a private endpoint.
    endpoint = os.environ.get(GCP_ENDPOINT) or (
        f"https://secretmanager.{region}.rep.googleapis.com"
        if region
        else "https://secretmanager.googleapis.com"
    )
    if not is_confidential(endpoint):
        raise SecretError(f"TAXI_SECRETS={secret_id}: {GCP_ENDPOINT} is not an https:// address")
    address = f"{endpoint.rstrip('/')}/v1/{name}{version or '/versions/latest'}:access"
    open_session: Any = transport.AuthorizedSession  # without types
    try:
        credentials, _ = google.auth.default([GCP_SCOPE])
        with open_session(credentials) as session:
            response = session.get(address, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except (GoogleAuthError, OSError) as error:
        raise SecretError(f"TAXI_SECRETS={secret_id}: {error}") from error
    if response.status_code != HTTPStatus.OK:
        reason = "the secret, its version, or the right to read it is missing"
        raise SecretError(f"TAXI_SECRETS={secret_id}: HTTP {response.status_code}; {reason}")
    try:
        return _texts(secret_id, json.loads(b64decode(response.json()["payload"]["data"])))
    except (KeyError, TypeError, ValueError):
        # Not JSON: an error of the parser would quote the secret.
        raise _unexpected(secret_id) from None


def _texts(secret_id: str, values: Any) -> Mapping[str, str]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise _unexpected(secret_id)
    return values


def _unexpected(secret_id: str) -> SecretError:
    return SecretError(
        f"TAXI_SECRETS={secret_id}: expected a JSON object of names and texts, as in "
        '{"TAXI_ALERT_SMTP_PASSWORD": "…"}'
    )
