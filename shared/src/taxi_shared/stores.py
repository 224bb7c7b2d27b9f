"""Stores of files outside this machine: S3, Google Cloud Storage, Azure.

A store is a module with the members of `Store`; the scheme of an address says which one. Only this
module knows them all.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import quote

from upath import UPath

if TYPE_CHECKING:
    import duckdb

# The module of each scheme. It is imported when an address has the scheme.
_MODULES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfss": "azure",
}
EXAMPLES = {
    "s3": "s3://bucket/prefix",
    "gcs": "gs://bucket/prefix",
    "azure": "az://container/prefix or abfss://container@account.dfs.core.windows.net/prefix",
}
ACCEPTED = f"a folder or {', '.join(EXAMPLES.values())}"
# DuckDB fails where two threads replace a secret at once.
_secret_lock = threading.Lock()


class StoreError(Exception):
    """A store cannot be used as configured; the message says why and what to do."""


class Store(Protocol):
    """What the module of a store has."""

    # Of the addresses that DuckDB and `deltalake` get.
    SCHEME: str
    ERROR: type[StoreError]

    def path_of(self, address: str, /) -> UPath:
        """Return the path of an address. Raises ValueError."""

    def attach(self, con: "duckdb.DuckDBPyConnection", path: UPath, /) -> None:
        """Let a DuckDB connection read and write the files of a path's bucket."""

    def delta_options(self, path: UPath, /) -> dict[str, str]:
        """Return the options of `deltalake` for a path."""

    def check(self, path: UPath, /) -> None:
        """Check that the files below a path can be listed. Raises StoreError."""

    def abort_uploads(self, folder: UPath, before: datetime, /) -> list[str]:
        """Abort the uploads below a folder that began before a time; return their addresses."""

    def errors_explained(self, path: UPath, /) -> AbstractContextManager[None]:
        """Raise errors of the store as a StoreError that says what to do; others pass."""


def module_of(address: str) -> str:
    """Return the module of an address' store: s3, gcs or azure; empty for this machine."""
    scheme, separator, _ = address.partition("://")
    return _MODULES.get(scheme, "") if separator else ""


def store_of(path: UPath) -> Store | None:
    """Return the store of a path; None for a path on this machine."""
    module = _MODULES.get(path.protocol)
    return _load(module) if module else None


@cache
def _load(module: str) -> Store:
    return cast(Store, import_module(f"taxi_shared.{module}"))


def errors_explained(path: UPath) -> AbstractContextManager[None]:
    """Raise errors of the store of a path, if it has one, as a StoreError; others pass."""
    store = store_of(path)
    return store.errors_explained(path) if store else nullcontext()


def url(path: UPath) -> str:
    """Return a path as a URL, in which `#` and `?` would else have a meaning."""
    store = store_of(path)
    return f"{store.SCHEME if store else 'file'}://{quote(path.path)}"


# What follows is for the modules of stores.


def require(package: str, extra: str) -> None:
    """Raise ValueError if the packages of an extra are not installed."""
    if find_spec(package) is None:
        raise ValueError(
            f"the package {package} is not installed: install "
            f"taxi-shared[{extra}] in the environments of the host and of all code locations"
        )


def create_secret(
    con: "duckdb.DuckDBPyConnection", extension: str, secret: Mapping[str, object]
) -> None:
    """Load an extension of DuckDB, and create or replace the secret of the data root.

    secret: its options, by their names in SQL
    """
    import duckdb

    # The package contains the extension as DuckDB publishes and signs it.
    file = f"extensions/v{duckdb.__version__}/{extension}.duckdb_extension"
    options = ", ".join(f"{name} ${name}" for name in secret)
    with _secret_lock:
        con.load_extension(str(files(f"duckdb_extension_{extension}") / file))
        con.execute(f"CREATE OR REPLACE SECRET data_root ({options})", dict(secret))


@contextmanager
def explain(
    path: UPath, error_type: type[StoreError], advice: Callable[[BaseException | None], str | None]
) -> Iterator[None]:
    """Raise an error for which there is advice as a StoreError with it; others pass."""
    try:
        yield
    except Exception as error:
        if text := advice(error) or advice(error.__cause__):
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            # Without the cause: Dagster would show that, which says less.
            raise error_type(f"{path}: {text} ({reason})") from None
        raise
