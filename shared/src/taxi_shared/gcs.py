"""Google Cloud Storage as the place of files: finding keys, and explaining errors.

Keys are found as Google's own tools find them, as Application Default Credentials: a file that
GOOGLE_APPLICATION_CREDENTIALS names, the login of `gcloud`, or the service account of the machine.
gcsfs, which lists and moves files, DuckDB, which reads and writes tables, and `deltalake`, which
commits them, get the same ones.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.etree import ElementTree

from upath import UPath

from taxi_shared.stores import StoreError, create_secret, explain, require

if TYPE_CHECKING:
    import duckdb
    import google.auth.credentials

SCHEME = "gs"
SERVER = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
# The variable of Google's clients: the address of an emulator, which needs no keys.
EMULATOR = "STORAGE_EMULATOR_HOST"
KEYS_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

_KEYS_WRONG = (
    f"the keys are refused: check {KEYS_FILE}, run `gcloud auth application-default login`, or "
    "give the machine a service account"
)
_ADVICE: Mapping[int | str | None, str] = {
    401: _KEYS_WRONG,
    403: "the keys may not do this: they need the role Storage Object User on the bucket",
    404: "there is no such bucket: create it, or correct the address",
    "DefaultCredentialsError": f"no keys are found: set {KEYS_FILE}, run "
    "`gcloud auth application-default login`, or give the machine a service account",
    "RefreshError": _KEYS_WRONG,
    "TransportError": "Google does not answer: check the network and its proxy",
    "ClientConnectorError": f"nothing answers there: check {EMULATOR} and the network",
}
# gcsfs reads it when it is imported. It would else ask for the kind of each bucket over gRPC, for
# which the keys need another permission, and wait a minute where a network has no way for gRPC.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


class GcsError(StoreError):
    """Google Cloud Storage cannot be used as configured."""


ERROR = GcsError


def path_of(address: str) -> UPath:
    """Return the path of an address. Raises ValueError if a package is missing."""
    require("gcsfs", "gcs")
    bucket = address.partition("://")[2]
    token = "anon" if os.environ.get(EMULATOR) else "google_default"
    # DuckDB and other processes write too: an earlier listing may be outdated.
    path: UPath = UPath(f"{SCHEME}://{bucket}", token=token, use_listings_cache=False)
    return path


def attach(con: "duckdb.DuckDBPyConnection", _path: UPath) -> None:
    """Let a DuckDB connection read and write files on Google Cloud Storage.

    DuckDB keeps a token of an hour. Attach a connection that stays open again.
    """
    if emulator := os.environ.get(EMULATOR):
        parts = urlsplit(emulator)
        server = {
            "BEARER_TOKEN": "none",
            "ENDPOINT": parts.netloc,
            "URL_STYLE": "path",
            "USE_SSL": parts.scheme == "https",
        }
    else:
        server = {"BEARER_TOKEN": _token()}
    create_secret(con, "httpfs", {"TYPE": "gcs", **server})


def delta_options(_path: UPath) -> dict[str, str]:
    """Return the options of `deltalake`, which finds the login and the machine's account itself.

    Of several writers of a commit one succeeds: Google has conditional writes.
    """
    if emulator := os.environ.get(EMULATOR):
        fields = ("client_email", "private_key", "private_key_id")
        key = {"gcs_base_url": emulator, "disable_oauth": True, **dict.fromkeys(fields, "")}
        return {"google_service_account_key": json.dumps(key), "allow_http": "true"}
    keys_file = os.environ.get(KEYS_FILE)
    return {"google_application_credentials": keys_file} if keys_file else {}


def check(path: UPath) -> None:
    """Check that the files below a path can be listed. Raises GcsError."""
    bucket, _, prefix = path.path.partition("/")
    with explain(path, GcsError, _advice):
        path.fs.call("GET", "b/{}/o", bucket, prefix=prefix, maxResults=1, json_out=True)


def abort_uploads(folder: UPath, before: datetime) -> list[str]:
    """Abort the incomplete uploads below a folder that began before a time; return their addresses.

    DuckDB writes large files in parts, which Google keeps, and charges for, until then.
    """
    bucket, _, prefix = f"{folder.path.rstrip('/')}/".partition("/")
    server = os.environ.get(EMULATOR) or SERVER
    _, found = folder.fs.call("GET", server + "/{}", bucket, uploads="", prefix=prefix)
    aborted = []
    for upload in ElementTree.fromstring(found).findall("{*}Upload"):  # noqa: S314 - of Google
        key, upload_id, began = (
            upload.findtext(f"{{*}}{name}", "") for name in ("Key", "UploadId", "Initiated")
        )
        if datetime.fromisoformat(began) < before:
            folder.fs.call("DELETE", server + "/{}/{}", bucket, key, uploadId=upload_id)
            aborted.append(f"{SCHEME}://{bucket}/{key} (an upload)")
    return aborted


def errors_explained(path: UPath) -> AbstractContextManager[None]:
    """Raise errors of gcsfs and Google's login as a GcsError that says what to do; others pass."""
    return explain(path, GcsError, lambda error: None if _is_missing(error) else _advice(error))


def clear_caches() -> None:
    """Find keys and server again, as after a change of the environment."""
    from gcsfs import GCSFileSystem

    _credentials.cache_clear()
    GCSFileSystem.clear_instance_cache()


def _is_missing(error: BaseException | None) -> bool:
    """Whether a file, rather than its bucket, may be missing."""
    return isinstance(error, FileNotFoundError)


def _advice(error: BaseException | None) -> str | None:
    code = 404 if _is_missing(error) else getattr(error, "code", None)
    return _ADVICE.get(code) or _ADVICE.get(type(error).__name__)


def _token() -> str:
    """Return a token that is valid for some minutes at least. Raises GcsError."""
    with explain(UPath(f"{SCHEME}://"), GcsError, _advice):
        from google.auth.transport.requests import Request

        credentials = _credentials()
        if not credentials.valid:
            credentials.refresh(Request())  # type: ignore[no-untyped-call]  # google-auth has few
        return str(credentials.token)


@lru_cache(maxsize=1)
def _credentials() -> "google.auth.credentials.Credentials":
    import google.auth

    return google.auth.default(scopes=[SCOPE])[0]
