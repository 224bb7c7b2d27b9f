"""S3 as the place of files: finding server and keys, and explaining errors.

Server, region and keys are found as AWS's own tools find them: by environment variables, profile,
or the role of the machine; keys also by a secret in AWS Secrets Manager. s3fs, which lists and
moves files, and DuckDB, which reads and writes tables, get the same ones.
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from upath import UPath

from taxi_shared import settings
from taxi_shared.addresses import without_proxy_for_loopback, without_secrets
from taxi_shared.stores import StoreError, create_secret

if TYPE_CHECKING:
    # Imported by the functions that use them: most processes of one machine need no S3.
    import aiobotocore.credentials
    import aiobotocore.session
    import botocore.client
    import botocore.credentials
    import botocore.session
    import duckdb

SCHEME = "s3"
KEY_ID, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
# The region in signatures for a server without regions.
ANY_REGION = "us-east-1"
# Keys of a secret may be rotated: they are read again after the first interval. If Secrets Manager
# does not respond, they are used until the second.
SECRET_REFRESH, SECRET_EXPIRY = timedelta(minutes=5), timedelta(hours=1)

_KEYS_WRONG = (
    f"the keys are refused: check {KEY_ID}, {SECRET} and {TOKEN}, or the profile, role or "
    f"TAXI_S3_SECRET that gives them"
)
_REGION_WRONG = "the bucket is in another region: set AWS_REGION to that of the bucket"
_OVERLOADED = "it takes no more requests at the moment: run this again later"
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: create it, or correct the address",
    "InvalidBucketName": "this is no name of a bucket: correct the address",
    "InvalidAccessKeyId": _KEYS_WRONG,
    "SignatureDoesNotMatch": _KEYS_WRONG,
    "InvalidToken": _KEYS_WRONG,
    "ExpiredToken": _KEYS_WRONG,
    "NoCredentialsError": f"no keys are found: set {KEY_ID} and {SECRET}, AWS_PROFILE or "
    f"TAXI_S3_SECRET, or give the machine a role",
    "PartialCredentialsError": f"half of the keys is missing: set both {KEY_ID} and {SECRET}",
    "ProfileNotFound": "the configuration of AWS has no such profile: check AWS_PROFILE",
    "AccessDenied": "the keys may not do this: they need s3:ListBucket on the bucket, "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below the address",
    "EndpointConnectionError": "nothing answers there: check AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "nothing answers there: check AWS_ENDPOINT_URL",
    "SlowDown": _OVERLOADED,
    "ServiceUnavailable": _OVERLOADED,
    "InternalError": _OVERLOADED,
    "PermanentRedirect": _REGION_WRONG,
    "AuthorizationHeaderMalformed": _REGION_WRONG,
    "IllegalLocationConstraintException": _REGION_WRONG,
}


class Keys(NamedTuple):
    """Keys that sign requests; the token is empty unless they are temporary."""

    key_id: str
    secret: str
    token: str


log = logging.getLogger(__name__)


class S3Error(StoreError):
    """S3 cannot be used as configured; the message says why and what to do."""


ERROR = S3Error


def path_of(address: str) -> UPath:
    """Return the path of an address."""
    path: UPath = UPath(address, **options())
    return path


def options() -> dict[str, Any]:
    """Return the options of s3fs that AWS's variables do not give it.

    As a side effect, clients of this process no longer send requests for this machine to a proxy.
    """
    for name, hosts in without_proxy_for_loopback(os.environ).items():
        if os.environ.get(name) != hosts:
            os.environ[name] = hosts
    found: dict[str, Any] = {
        # DuckDB and other processes write too: an earlier listing may be outdated.
        "use_listings_cache": False,
    }
    if region := settings.load().aws_region:
        found["client_kwargs"] = {"region_name": region}
    if secret := settings.load().s3_secret:
        found["session"] = _session_of_s3fs(secret)
    return found


def delta_options(_path: UPath) -> dict[str, str]:
    """Return the options of `deltalake` for S3. Raises S3Error, and what botocore raises."""
    client = _client("s3")
    scheme, host = _server(client)
    keys = _keys()
    own_server = {} if _is_amazons(client) else {"AWS_ENDPOINT_URL": f"{scheme}://{host}"}
    return {
        **{KEY_ID: keys.key_id, SECRET: keys.secret},
        **({TOKEN: keys.token} if keys.token else {}),
        **own_server,
        "AWS_REGION": client.meta.region_name,
        "AWS_ALLOW_HTTP": str(scheme == "http").lower(),
        # Of several writers of a commit one succeeds: S3 has this since 2024, by `If-None-Match`.
        "conditional_put": "etag",
        "max_retries": "3",
    }


def attach(con: "duckdb.DuckDBPyConnection", path: UPath) -> None:
    """Let a DuckDB connection read and write files on S3. Raises S3Error.

    DuckDB keeps the keys of this moment. Attach a connection that stays open again: keys of a role
    expire after about an hour, and botocore has new ones ten minutes before. This renews the keys
    of all cursors of the connection, and works while its configuration is locked.
    """
    with errors_explained(path):
        client = _client("s3")
        scheme, host = _server(client)
        keys = _keys()
        create_secret(
            con,
            "httpfs",
            {
                "TYPE": "s3",
                "KEY_ID": keys.key_id,
                "SECRET": keys.secret,
                "SESSION_TOKEN": keys.token,
                "REGION": client.meta.region_name,
                "ENDPOINT": host,
                "URL_STYLE": "vhost" if _is_amazons(client) else "path",
                "USE_SSL": scheme == "https",
            },
        )


def check(path: UPath) -> None:
    """Check that the files below a path can be listed. Raises S3Error."""
    bucket, _, prefix = path.path.partition("/")
    with errors_explained(path):
        _server(_client("s3"))
        if _is_amazons(_client("s3")) and not _region():
            raise S3Error(f"{path}: no region is set; set AWS_REGION to that of the bucket")
        path.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)


def abort_uploads(folder: UPath, before: datetime) -> list[str]:
    """Abort the uploads below a folder that began before a time, and return their addresses.

    Their parts appear in no listing of files, and cost money. If the keys or the server do not
    allow to list them, the log has a warning.
    """
    bucket, _, prefix = f"{folder.path.rstrip('/')}/".partition("/")
    try:
        found = folder.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
    except OSError as error:
        log.warning(
            "%s: incomplete uploads cannot be listed (%s); allow "
            "s3:ListBucketMultipartUploads, or let a rule of the bucket abort them",
            folder,
            error,
        )
        return []
    old = [each for each in found.get("Uploads") or () if each["Initiated"] < before]
    for each in old:
        folder.fs.call_s3(
            "abort_multipart_upload", Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"]
        )
    return [f"s3://{bucket}/{each['Key']} (an upload)" for each in old]


@contextmanager
def errors_explained(path: UPath) -> Iterator[None]:
    """Raise errors of s3fs and botocore as an S3Error that says what to do; others pass."""
    try:
        yield
    except Exception as error:
        if advice := _advice(error) or _advice(error.__cause__):
            # Without the cause: Dagster would show that, which says less.
            raise S3Error(f"{path}: {advice} ({error})") from None
        raise


def _advice(error: BaseException | None) -> str | None:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return _ADVICE.get(code) or _ADVICE.get(type(error).__name__)


def _server(client: "botocore.client.BaseClient") -> tuple[str, str]:
    """Return scheme and host of the server. Raises S3Error for an address with more parts."""
    address = client.meta.endpoint_url
    parts = urlsplit(address)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise S3Error(
            f"AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) is {without_secrets(address)!r}; expected "
            "scheme, host and port alone, as in https://s3.example.org:8333"
        )
    return parts.scheme, parts.netloc


def _is_amazons(client: "botocore.client.BaseClient") -> bool:
    return ".amazonaws.com" in client.meta.endpoint_url


def _region() -> str | None:
    return settings.load().aws_region or _session().get_config_variable("region")


def _keys() -> Keys:
    """Return the current keys. Raises S3Error, and what botocore raises."""
    found = _session_with_keys(settings.load().s3_secret).get_credentials()
    if found is None:
        from botocore.exceptions import NoCredentialsError

        raise NoCredentialsError
    keys = found.get_frozen_credentials()
    return Keys(keys.access_key, keys.secret_key, keys.token or "")


def _keys_in(secret_id: str) -> Keys:
    """Read keys from a secret of AWS Secrets Manager: JSON with the names of AWS's variables."""
    try:
        answer = _client("secretsmanager").get_secret_value(SecretId=secret_id)
    except Exception as error:
        raise S3Error(f"TAXI_S3_SECRET {secret_id!r} cannot be read: {error}") from error
    expected = f"expected JSON with {KEY_ID} and {SECRET}, and perhaps {TOKEN}"
    try:
        values = json.loads(answer["SecretString"])
        return Keys(values[KEY_ID], values[SECRET], values.get(TOKEN, ""))
    except (KeyError, TypeError, ValueError):
        raise S3Error(f"TAXI_S3_SECRET {secret_id!r} is another secret; {expected}") from None


class _SecretProvider:
    """A provider that gives botocore the keys of a secret and refreshes them."""

    def __init__(self, secret_id: str) -> None:
        self._secret_id = secret_id
        self._times = {
            "advisory_timeout": (SECRET_EXPIRY - SECRET_REFRESH).total_seconds(),
            "mandatory_timeout": 0,
        }

    def load_credentials(self) -> "botocore.credentials.RefreshableCredentials":
        from botocore.credentials import RefreshableCredentials

        return RefreshableCredentials.create_from_metadata(
            self._read(), self._read, "TAXI_S3_SECRET", **self._times
        )

    def _read(self) -> dict[str, str | None]:
        keys = _keys_in(self._secret_id)
        return {
            "access_key": keys.key_id,
            "secret_key": keys.secret,
            "token": keys.token or None,
            "expiry_time": (datetime.now(UTC) + SECRET_EXPIRY).isoformat(),
        }


class _AsyncSecretProvider(_SecretProvider):
    """The same for aiobotocore, which s3fs uses."""

    async def load_credentials(self) -> "aiobotocore.credentials.AioRefreshableCredentials":
        from aiobotocore.credentials import AioRefreshableCredentials

        async def read() -> dict[str, str | None]:
            return await asyncio.to_thread(self._read)

        return AioRefreshableCredentials.create_from_metadata(
            await read(), read, "TAXI_S3_SECRET", **self._times
        )


def clear_caches() -> None:
    """Find server, region and keys again, as after a change of the environment."""
    from s3fs import S3FileSystem

    for cached in (_session, _client, _session_with_keys, _session_of_s3fs):
        cached.cache_clear()
    S3FileSystem.clear_instance_cache()


@lru_cache
def _client(service: str) -> "botocore.client.BaseClient":
    return _session().create_client(service, region_name=_region() or ANY_REGION)


@lru_cache(maxsize=1)
def _session() -> "botocore.session.Session":
    from botocore.session import Session

    return Session()


@lru_cache(maxsize=1)
def _session_with_keys(secret_id: str) -> "botocore.session.Session":
    """Return the session with the keys of S3; without a secret, that of everything else."""
    if not secret_id:
        return _session()
    from botocore.session import Session

    session = Session()
    session.register_component("credential_provider", _SecretProvider(secret_id))
    return session


@lru_cache(maxsize=1)
def _session_of_s3fs(secret_id: str) -> "aiobotocore.session.AioSession":
    from aiobotocore.session import AioSession

    session = AioSession()
    session.register_component("credential_provider", _AsyncSecretProvider(secret_id))
    return session
