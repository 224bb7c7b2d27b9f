"""Secrets: from the environment, or from one secret of AWS Secrets Manager.

Read a secret where it is used and pass it to nothing else: not to a resource, whose fields the UI
shows, nor to run config, nor to a message.
"""

from collections.abc import Mapping

from pydantic import SecretStr

from taxi_shared import settings


class SecretError(Exception):
    """A secret cannot be read. Names the secret, never its value."""


def secret(field: str) -> str:
    """The value of a setting that is a secret, as in `secret("source_token")`.

    That is its environment variable, else the value of that name in the AWS secret TAXI_SECRETS;
    empty where neither has it. Raises SecretError where Secrets Manager does not return the secret,
    or returns anything but a JSON object of texts.
    """
    current = settings.load()
    value: SecretStr = getattr(current, field)
    if value or not current.secrets:
        return value.get_secret_value()
    return _read(current.secrets, current.aws_region).get(settings.variable(field), "")


def _read(secret_id: str, region: str) -> Mapping[str, str]:
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
    values = source.env_vars
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise _unexpected(secret_id)
    return values


def _unexpected(secret_id: str) -> SecretError:
    return SecretError(
        f"TAXI_SECRETS={secret_id}: expected a JSON object of names and texts, as in "
        '{"TAXI_ALERT_SMTP_PASSWORD": "…"}'
    )
