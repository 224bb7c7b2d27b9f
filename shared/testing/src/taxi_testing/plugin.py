"""Fixtures for every project's tests: a data root on S3.

pytest loads this module itself (entry point `pytest11`), before it measures coverage: the platform
is imported inside the fixtures.
"""

import uuid
from collections.abc import Iterator

import pytest

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
