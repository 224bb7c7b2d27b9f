"""Engines in the locations: which assets ask, and what the default installation leaves out."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from taxi_platform.workspace import ROOT, locations
from taxi_shared.engines.choice import ASSETS

# The names of packages of engines, as they are imported, and the projects that have them.
MODULES = r"(pyspark|google\.cloud|google\.auth|snowflake|redshift_connector|databricks)\b"
PROJECTS = r"(pyspark|google|snowflake|redshift|databricks)\b.*=="

# Also notices imports that fail because the package is not installed.
LOAD = """
import importlib, json, re, sys
tried = []
class Recorder:
    def find_spec(self, name, path=None, target=None):
        if re.match({modules!r}, name):
            tried.append(name)
sys.meta_path.insert(0, Recorder())
defs = importlib.import_module({module!r}).defs
graph = defs.resolve_asset_graph()
nodes = map(graph.get, graph.get_all_asset_keys())
kinds = {{node.key.to_user_string(): sorted(node.kinds or ()) for node in nodes}}
print(json.dumps({{"tried": tried, "resources": list(defs.resources), "kinds": kinds}}))
"""


def load(name: str, module: str, engine: str = "") -> dict[str, Any]:
    """What a location's definitions have in its own environment, with a value of TAXI_ENGINE."""
    printed = subprocess.check_output(
        [
            ROOT / name / ".venv" / "bin" / "python",
            "-c",
            LOAD.format(modules=MODULES, module=module),
        ],
        env={**os.environ, "TAXI_ENGINE": engine},
        text=True,
    )
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.fixture(scope="module")
def loaded() -> dict[str, dict[str, Any]]:
    """What each location has by default."""
    return {each.name: load(each.name, each.module) for each in locations()}


def test_locations_import_no_package_of_an_engine(loaded: dict[str, dict[str, Any]]) -> None:
    assert len(loaded) == len(locations())
    assert {name: found["tried"] for name, found in loaded.items() if found["tried"]} == {}


def test_default_installation_has_no_package_of_an_engine() -> None:
    folders = [ROOT, ROOT / "deploy" / "host", *(ROOT / each.name for each in locations())]
    locks = {folder: (folder / "requirements.lock").read_text() for folder in folders}
    assert all("\ndagster==" in text for text in locks.values())
    assert [each for each, text in locks.items() if re.search(rf"^{PROJECTS}", text, re.M)] == []


def test_every_asset_that_asks_can_be_named(loaded: dict[str, dict[str, Any]]) -> None:
    resources = [name for found in loaded.values() for name in found["resources"]]
    asking = {name.removesuffix("_engine") for name in resources if name.endswith("_engine")}
    assert asking == set(ASSETS)


def test_kinds_of_an_asset_say_which_engine_answers(loaded: dict[str, dict[str, Any]]) -> None:
    assert loaded["analytics"]["kinds"]["trips_by_week"] == ["csv", "duckdb"]
    kinds = load("analytics", "analytics.definitions", "trips_by_week=spark-submit")["kinds"]
    assert kinds["trips_by_week"] == ["csv", "spark"]
    assert kinds["manhattan_stats"] == ["duckdb", "geojson"]
