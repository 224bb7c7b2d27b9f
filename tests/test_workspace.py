"""The files that name the code locations agree, and so do the packages."""

import subprocess
import tomllib

import pytest

from taxi_platform.workspace import ROOT, Location, locations
from tests.conftest import Platform

NAMES = [location.name for location in locations()]


def test_workspace_has_three_locations() -> None:
    assert NAMES == ["ingestion", "analytics", "adhoc_reports"]


def test_dg_has_the_same_locations() -> None:
    projects = tomllib.loads((ROOT / "dg.toml").read_text())["workspace"]["projects"]
    assert [project["path"] for project in projects] == NAMES


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
