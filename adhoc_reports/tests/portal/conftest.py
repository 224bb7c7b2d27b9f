"""A portal per test: over a folder and over an object store, or over a folder only."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from taxi_shared.storage import DataRoot

from .support import Portal, portal_at


@pytest.fixture(autouse=True)
def wait_for_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for each scan of the files, however busy the machine is."""
    monkeypatch.setattr("adhoc_reports.portal.cache.REFRESH_SECONDS", 60)


@pytest.fixture(params=["folder", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataRoot]:
    """A data root in a folder, then in an object store."""
    if request.param == "folder":
        yield DataRoot.at(str(tmp_path))
        return
    base = UPath(f"memory://{tmp_path.name}")
    yield DataRoot(base)
    base.fs.rm(base.path, recursive=True)


@pytest.fixture
def portal(root: DataRoot) -> Iterator[Portal]:
    """A portal on both kinds of storage."""
    with portal_at(root) as portal:
        yield portal


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Portal]:
    """A portal on a folder, for what does not depend on the storage."""
    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        yield portal
