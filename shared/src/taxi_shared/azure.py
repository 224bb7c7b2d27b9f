"""Azure Blob Storage and Data Lake Storage as the place of files: finding keys, explaining errors.

The account and its key come from AZURE_STORAGE_CONNECTION_STRING. Without it, the identity of the
process is used, as Azure's own tools find it: AZURE_CLIENT_ID and so on, a managed identity, or the
login of `az`. adlfs, which lists and moves files, DuckDB, which reads and writes tables, and
`deltalake`, which commits them, get the same ones.
"""

import os
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from upath import UPath

from taxi_shared.addresses import without_secrets
from taxi_shared.stores import StoreError, create_secret, explain, require

if TYPE_CHECKING:
    import azure.identity
    import azure.storage.blob
    import duckdb

# Blobs of any account, with or without a hierarchy of folders, can be reached by this scheme.
SCHEME = "az"
CONNECTION, ACCOUNT = "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME"
SCOPE = "https://storage.azure.com/.default"
HOST_SUFFIX = ".dfs.core.windows.net"

_KEYS_WRONG = f"the key is refused: check {CONNECTION}, or the identity of the process"
_MAY_NOT = (
    "the identity may not do this: give it the role Storage Blob Data Contributor on the container"
)
_NO_ANSWER = f"nothing answers there: check the account's name, {CONNECTION} and the network"
_ADVICE = {
    "ContainerNotFound": "there is no such container: create it, or correct the address",
    "ContainerBeingDeleted": "the container is being deleted: create it again, or correct the "
    "address",
    "InvalidResourceName": "this is no name of a container: correct the address",
    "OutOfRangeInput": "this is no name of a container: correct the address",
    "AuthenticationFailed": _KEYS_WRONG,
    "InvalidAuthenticationInfo": _KEYS_WRONG,
    "AuthorizationFailure": f"access is refused: check {CONNECTION} and the account's firewall, or "
    "give the identity the role Storage Blob Data Contributor on the container",
    "AuthorizationPermissionMismatch": _MAY_NOT,
    "ClientAuthenticationError": f"no identity is found: set {CONNECTION}, or AZURE_CLIENT_ID, "
    "AZURE_TENANT_ID and AZURE_CLIENT_SECRET, log in by `az login`, or give the machine a managed "
    "identity",
    "ServiceRequestError": _NO_ANSWER,
    "ServiceResponseError": _NO_ANSWER,
}


class AzureError(StoreError):
    """Azure's storage cannot be used as configured."""


ERROR = AzureError


def path_of(address: str) -> UPath:
    """Return the path of an address; `abfss` names the account, `az` does not.

    Raises ValueError if the account is not known or a package is missing.
    """
    require("adlfs", "azure")
    scheme, _, rest = address.partition("://")
    place, _, prefix = rest.partition("/")
    container, at, host = place.partition("@")
    if scheme == "abfss" and not (at and host.endswith(HOST_SUFFIX)):
        raise ValueError(
            f"{without_secrets(address)!r} names no account; expected "
            f"abfss://container@account{HOST_SUFFIX}/prefix"
        )
    given = host.removesuffix(HOST_SUFFIX) or os.environ.get(ACCOUNT)
    known = _connection().get("accountname")
    if given and known and given != known:
        raise ValueError(
            f"{without_secrets(address)!r} is in the account {given!r}, but {CONNECTION} is of "
            f"{known!r}; expected the same account"
        )
    if not (given or known):
        raise ValueError(
            f"{without_secrets(address)!r} names no account: set {CONNECTION} or {ACCOUNT}, or use "
            f"abfss://container@account{HOST_SUFFIX}/prefix"
        )
    path: UPath = UPath(
        f"{SCHEME}://{container}/{prefix}",
        account_name=given or known,
        # Azure's own variables, unlike adlfs', do for all three clients.
        **({"connection_string": os.environ[CONNECTION]} if known else {"anon": False}),
        # DuckDB and other processes write too: an earlier listing may be outdated.
        use_listings_cache=False,
    )
    return path


def attach(con: "duckdb.DuckDBPyConnection", path: UPath) -> None:
    """Let a DuckDB connection read and write files on Azure.

    Without a key, DuckDB keeps a token of an hour. Attach a connection that stays open again.
    """
    if connection := os.environ.get(CONNECTION):
        secret = {"CONNECTION_STRING": connection}
    else:
        secret = {
            "PROVIDER": "access_token",
            "ACCOUNT_NAME": path.storage_options["account_name"],
            "ACCESS_TOKEN": _token(path),
        }
    create_secret(con, "azure", {"TYPE": "azure", **secret})


def delta_options(path: UPath) -> dict[str, str]:
    """Return the options of `deltalake`. Of several writers of a commit one succeeds."""
    options = {"azure_storage_account_name": path.storage_options["account_name"]}
    if not (parts := _connection()):
        return {**options, "azure_storage_token": _token(path)}
    named = {
        "accountkey": "azure_storage_account_key",
        "sharedaccesssignature": "azure_storage_sas_key",
        "blobendpoint": "azure_storage_endpoint",
    }
    options |= {named[name]: value for name, value in parts.items() if name in named}
    plain = parts.get("blobendpoint", "").startswith("http:")
    return options | ({"allow_http": "true"} if plain else {})


def hadoop_address(path: UPath) -> str:
    """Return the address of a path for Hadoop's client of Azure, which Spark uses."""
    container, _, prefix = path.path.partition("/")
    return f"abfss://{container}@{path.storage_options['account_name']}{HOST_SUFFIX}/{prefix}"


def check(path: UPath) -> None:
    """Check that the files below a path can be listed. Raises AzureError."""
    container, _, prefix = path.path.partition("/")
    with errors_explained(path), _client(path) as client:
        found = client.get_container_client(container).list_blobs(prefix, results_per_page=1)
        next(found, None)


def abort_uploads(_folder: UPath, _before: datetime) -> list[str]:
    """Abort nothing: Azure removes blocks that were not committed after a week."""
    return []


def errors_explained(path: UPath) -> AbstractContextManager[None]:
    """Raise errors of Azure's clients as an AzureError that says what to do; others pass."""
    return explain(path, AzureError, _advice)


def clear_caches() -> None:
    """Find keys and account again, as after a change of the environment."""
    from adlfs import AzureBlobFileSystem

    _credential.cache_clear()
    AzureBlobFileSystem.clear_instance_cache()


def _connection() -> dict[str, str]:
    """Return the parts of the connection string by their names in lower case; none without one."""
    given = os.environ.get(CONNECTION, "")
    parts = [part.partition("=") for part in given.split(";") if part]
    found = {name.strip().lower(): value.strip() for name, _, value in parts}
    if given and "accountname" not in found:
        raise ValueError(f"{CONNECTION} has no AccountName; copy it from the account's access keys")
    return found


def _client(path: UPath) -> "azure.storage.blob.BlobServiceClient":
    from azure.storage.blob import BlobServiceClient

    if connection := os.environ.get(CONNECTION):
        return BlobServiceClient.from_connection_string(connection, retry_total=1)
    account = path.storage_options["account_name"]
    return BlobServiceClient(
        f"https://{account}.blob.core.windows.net", _credential(), retry_total=1
    )


def _advice(error: BaseException | None) -> str | None:
    code = getattr(error, "error_code", None)
    return _ADVICE.get(str(getattr(code, "value", code))) or _ADVICE.get(type(error).__name__)


def _token(path: UPath) -> str:
    """Return a token that is valid for some minutes at least. Raises AzureError."""
    with errors_explained(path):
        return _credential().get_token(SCOPE).token


@lru_cache(maxsize=1)
def _credential() -> "azure.identity.DefaultAzureCredential":
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
