"""The list of code locations, what is derived from it, and their packages."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from taxi_platform.workspace import ROOT, Location, locations
from tests.conftest import Platform

NAMES = [location.name for location in locations()]


def test_locations_are_the_projects_that_dg_lists() -> None:
    listed = run(".venv/bin/dg", "list", "projects").stdout.split()
    assert [os.path.relpath(location.folder, ROOT) for location in locations()] == listed


def test_makefile_has_the_same_locations() -> None:
    """For all its locations, `make deploy` checks the name only."""
    printed = run("make", "--no-print-directory", "deploy", "LOCATION=no such one").stderr
    here = [location.name for location in locations() if location.is_here]
    assert f"expected one of {' '.join(here)}, as in" in printed


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_dagster_reads_the_locations_from_workspace_yaml() -> None:
    targets = load_workspace_target(ROOT / "workspace.yaml")
    assert targets == {each.name: (each.module, str(each.python)) for each in locations()}


def load_workspace_target(file: Path) -> dict[str, tuple[str, str]]:
    """The module and the Python of each entry; relative paths start at the file."""
    entries = [entry["python_module"] for entry in yaml.safe_load(file.read_text())["load_from"]]
    return {
        entry["location_name"]: (entry["module_name"], str(file.parent / entry["executable_path"]))
        for entry in entries
    }


@pytest.mark.parametrize("text", ["", "[project]\nname = 'fares'\n"])
def test_project_without_definitions_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "fares").mkdir()
    (tmp_path / "fares" / "pyproject.toml").write_text(text)
    (tmp_path / "dg.toml").write_text("[workspace]\nprojects = [{path = 'fares'}]\n")
    with pytest.raises(ValueError, match=r"dg\.toml: fares is not a code location; expected a"):
        locations(tmp_path / "dg.toml")


def test_location_may_have_another_python_and_owner(tmp_path: Path) -> None:
    (tmp_path / "fares").mkdir()
    (tmp_path / "fares" / ".python-version").write_text("3.13\n")
    (tmp_path / "fares" / "pyproject.toml").write_text(
        "[project]\nmaintainers = [{name = 'revenue'}]\n[tool.dg.project]\nroot_module = 'fares'\n"
    )
    (tmp_path / "dg.toml").write_text("[workspace]\nprojects = [{path = 'fares'}]\n")
    (fares,) = locations(tmp_path / "dg.toml")
    assert (fares.name, fares.module) == ("fares", "fares.definitions")
    assert (fares.owner, fares.version, fares.is_here) == ("revenue", "3.13", False)
    assert locations()[0].is_here


@pytest.mark.parametrize("name", NAMES)
def test_location_is_a_dg_project_of_its_name(name: str) -> None:
    project = tomllib.loads((ROOT / name / "pyproject.toml").read_text())
    assert project["project"]["name"].replace("-", "_") == name
    assert project["tool"]["dg"]["project"]["root_module"] == name
    assert (ROOT / name / "src" / name / "definitions.py").is_file()


@pytest.mark.system
def test_each_job_name_belongs_to_one_location(platform: Platform) -> None:
    platform.pipeline().wait_for_locations()
    repositories = platform.instance.graphql.ask(
        """{ repositoriesOrError { ... on RepositoryConnection { nodes {
            location { name } jobs { name } } } } }"""
    )["repositoriesOrError"]["nodes"]
    locations_of: dict[str, list[str]] = {}
    for repository in repositories:
        for job in repository["jobs"]:
            locations_of.setdefault(job["name"], []).append(repository["location"]["name"])
    ours = {job: found for job, found in locations_of.items() if not job.startswith("__")}
    assert {job: found for job, found in ours.items() if len(found) > 1} == {}
    assert ours["trip_update_job"] == ["ingestion"]
    assert ours["manhattan_update_job"] == ["analytics"]


@pytest.mark.parametrize("location", locations(), ids=NAMES)
def test_definitions_set_up_the_garbage_collector(location: Location) -> None:
    code = f"import gc, {location.module}; print(gc.get_threshold()[0])"
    printed = subprocess.run(
        [location.python, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(printed.stdout) == 50_000


@pytest.mark.parametrize("folder", ["", *NAMES])
def test_a_lock_names_no_index_and_no_path(folder: str) -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / folder / lock).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_the_next_duckdb_is_locked_as_well() -> None:
    text = (ROOT / "shared" / "next-duckdb.lock").read_text()
    assert "duckdb==2." in text
    assert "://" not in text


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("ingestion", {"geopandas", "matplotlib", "pandas"}),
        ("adhoc-reports", {"geopandas", "shapely", "pandas", "requests-oauthlib"}),
    ],
)
def test_location_installs_only_what_it_uses(name: str, absent: set[str]) -> None:
    lock = (ROOT / name.replace("-", "_") / "requirements.lock").read_text()
    installed = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    assert not absent & installed


def test_analytics_alone_depends_on_geopandas() -> None:
    for name in NAMES:
        dependencies = tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"][
            "dependencies"
        ]
        assert any(d.startswith("geopandas") for d in dependencies) == (name == "analytics")


def test_host_has_the_newest_dagster_of_all_locks() -> None:
    def version(folder: str) -> tuple[int, ...]:
        lock = (ROOT / folder / "requirements.lock").read_text()
        line = next(line for line in lock.splitlines() if line.startswith("dagster=="))
        return tuple(int(n) for n in line.split("==")[1].split()[0].split("."))

    assert all(version("") >= version(name) for name in NAMES)
