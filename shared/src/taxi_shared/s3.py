"""S3 as the place of files: which server and keys, and what to do when they do not serve.

Server, region and keys are found as AWS's own tools find them: by environment variables, profile,
or the role of the machine; keys by a secret in AWS Secrets Manager as well. What is found holds for
s3fs, which lists and moves files, and for DuckDB, which reads and writes tables.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from upath import UPath

from taxi_shared import settings

if TYPE_CHECKING:
    # Imported by the functions that use them: most processes of one machine need no S3.
    import botocore.client
    import botocore.session
    import duckdb

KEY_ID, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
# Where a server has no regions, signatures name this one.
ANY_REGION = "us-east-1"

_KEYS_WRONG = (
    f"the keys are refused: check {KEY_ID}, {SECRET} and {TOKEN}, or the profile, role or "
    f"{settings.S3_SECRET} that gives them"
)
_REGION_WRONG = "the bucket is in another region: set AWS_REGION to that of the bucket"
_MEANINGS = {
    "NoSuchBucket": "there is no such bucket: create it, or correct the address",
    "InvalidBucketName": "this is no name of a bucket: correct the address",
    "InvalidAccessKeyId": _KEYS_WRONG,
    "SignatureDoesNotMatch": _KEYS_WRONG,
    "InvalidToken": _KEYS_WRONG,
    "ExpiredToken": _KEYS_WRONG,
    "NoCredentialsError": f"no keys are found: set {KEY_ID} and {SECRET}, AWS_PROFILE or "
    f"{settings.S3_SECRET}, or give the machine a role",
    "PartialCredentialsError": f"half of the keys is missing: set both {KEY_ID} and {SECRET}",
    "ProfileNotFound": "the configuration of AWS has no such profile: check AWS_PROFILE",
    "AccessDenied": "the keys may not do this: they need s3:ListBucket on the bucket, "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below the address",
    "EndpointConnectionError": "nothing answers there: check AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "nothing answers there: check AWS_ENDPOINT_URL",
    "PermanentRedirect": _REGION_WRONG,
    "AuthorizationHeaderMalformed": _REGION_WRONG,
    "IllegalLocationConstraintException": _REGION_WRONG,
}


class Keys(NamedTuple):
    """What signs a request; the token is empty unless the keys are temporary."""

    key_id: str
    secret: str
    token: str


class S3Error(Exception):
    """S3 cannot be used as it is set up; the message says why and what to do."""


def is_on_s3(path: UPath) -> bool:
    return path.protocol in ("s3", "s3a")


def options() -> dict[str, Any]:
    """What s3fs is to know beside the variables of AWS. Raises S3Error."""
    found: dict[str, Any] = {
        # DuckDB and other processes write as well: what was listed before tells nothing.
        "use_listings_cache": False,
    }
    if region := settings.get(settings.REGION):
        found["client_kwargs"] = {"region_name": region}
    if secret := settings.get(settings.S3_SECRET):
        keys = _keys_in(secret)
        found |= {"key": keys.key_id, "secret": keys.secret, "token": keys.token or None}
    return found


def attach(con: "duckdb.DuckDBPyConnection") -> None:
    """Let a DuckDB connection read and write files on S3. Raises what botocore raises."""
    import duckdb

    client = _client("s3")
    scheme, _, host = client.meta.endpoint_url.partition("://")
    # The package holds the extension as DuckDB publishes and signs it.
    extension = f"extensions/v{duckdb.__version__}/httpfs.duckdb_extension"
    con.load_extension(str(files("duckdb_extension_httpfs") / extension))
    con.execute(
        "CREATE OR REPLACE SECRET data_root (TYPE s3, KEY_ID $key_id, SECRET $secret, "
        "SESSION_TOKEN $token, REGION $region, ENDPOINT $host, URL_STYLE $style, USE_SSL $ssl)",
        {
            **_keys()._asdict(),
            "region": client.meta.region_name,
            "host": host,
            "style": "vhost" if _is_amazons(client) else "path",
            "ssl": scheme == "https",
        },
    )


def check(path: UPath) -> None:
    """Raises S3Error where the files below a path cannot be listed."""
    bucket, _, prefix = path.path.partition("/")
    with errors_explained(path):
        if _is_amazons(_client("s3")) and not _region():
            raise S3Error(f"{path}: no region is set; set AWS_REGION to that of the bucket")
        path.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)


@contextmanager
def errors_explained(path: UPath) -> Iterator[None]:
    """Errors of s3fs and botocore in the block say what to do, as an S3Error; others pass."""
    try:
        yield
    except Exception as error:
        if meaning := _meaning(error) or _meaning(error.__cause__):
            # Without the cause, which tells no more: whoever shows the last cause shows this.
            raise S3Error(f"{path}: {meaning} ({error})") from None
        raise


def _meaning(error: BaseException | None) -> str | None:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return _MEANINGS.get(code) or _MEANINGS.get(type(error).__name__)


def _is_amazons(client: "botocore.client.BaseClient") -> bool:
    return ".amazonaws.com" in client.meta.endpoint_url


def _region() -> str | None:
    return settings.get(settings.REGION) or _session().get_config_variable("region")


def _keys() -> Keys:
    if secret := settings.get(settings.S3_SECRET):
        return _keys_in(secret)
    found = _session().get_credentials()
    if found is None:
        from botocore.exceptions import NoCredentialsError

        raise NoCredentialsError
    keys = found.get_frozen_credentials()
    return Keys(keys.access_key, keys.secret_key, keys.token or "")


@lru_cache(maxsize=1)  # asked for once in the life of a process
def _keys_in(secret_id: str) -> Keys:
    """The keys in a secret of AWS Secrets Manager: JSON with the names of AWS's variables."""
    try:
        answer = _client("secretsmanager").get_secret_value(SecretId=secret_id)
    except Exception as error:
        raise S3Error(f"{settings.S3_SECRET} {secret_id!r} cannot be read: {error}") from error
    expected = f"expected JSON with {KEY_ID} and {SECRET}, and perhaps {TOKEN}"
    try:
        values = json.loads(answer["SecretString"])
        return Keys(values[KEY_ID], values[SECRET], values.get(TOKEN, ""))
    except (KeyError, TypeError, ValueError):
        raise S3Error(f"{settings.S3_SECRET} {secret_id!r} is another secret; {expected}") from None


@lru_cache
def _client(service: str) -> "botocore.client.BaseClient":
    return _session().create_client(service, region_name=_region() or ANY_REGION)


@lru_cache(maxsize=1)
def _session() -> "botocore.session.Session":
    from botocore.session import Session

    return Session()
