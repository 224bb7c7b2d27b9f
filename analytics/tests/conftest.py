"""A small lake of its own for each test, and analytics' definitions on it."""

import os
from pathlib import Path

import pytest

# The first month and the place of the files are read when the definitions are imported.
os.environ["TAXI_START_DATE"] = "2019-01-01"
os.environ["TAXI_END_DATE"] = ""
os.environ["TAXI_DATA_ROOT"] = "set by each test"

from dagster import DagsterInstance

from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake; the definitions' resources use it."""
    monkeypatch.setenv("TAXI_DATA_ROOT", str(tmp_path))
    return Lake(DataRoot.at(str(tmp_path)))


@pytest.fixture
def instance() -> DagsterInstance:
    return DagsterInstance.ephemeral()
