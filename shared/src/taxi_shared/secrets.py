"""Secrets: from the environment, or from one secret of AWS Secrets Manager.

A secret is asked for where it is used and passed on to nobody: it is no field of a resource, which
the UI shows, no run config, and in no message.
"""

import json
import os

from taxi_shared import settings


class SecretError(Exception):
    """A secret cannot be read. Says which, and never its value."""


def secret(name: str) -> str:
    """The value of the environment variable `name`, else of that field of the secret TAXI_SECRETS.

    Empty where neither has it. Raises SecretError where Secrets Manager does not give the secret,
    or gives something else than an object of texts.
    """
    if value := os.environ.get(name):
        return value
    secret_id = settings.get(settings.SECRETS)
    return _from_secrets_manager(secret_id).get(name, "") if secret_id else ""


def _from_secrets_manager(secret_id: str) -> dict[str, str]:
    import boto3  # here, as a run without it starts faster
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.client("secretsmanager").get_secret_value(SecretId=secret_id)
    except (BotoCoreError, ClientError) as error:
        raise SecretError(f"{settings.SECRETS}={secret_id}: {error}") from error
    try:
        values = json.loads(found.get("SecretString", ""))
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise SecretError(
            f"{settings.SECRETS}={secret_id}: expected a JSON object of names and texts, as in "
            f'{{"{settings.ALERT_SMTP_PASSWORD}": "…"}}'
        )
    return values
