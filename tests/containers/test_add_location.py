"""Locations added to containers that run, by the commands of the how-to, word for word."""

import os
from collections.abc import Iterator, Mapping

import pytest

from taxi_platform.graphql import ASSET_JOB, JobSubset
from taxi_platform.workspace import ROOT, locations
from tests.containers.conftest import Stack, command
from tests.how_to import OTHER, commands, write_repository
from tests.waiting import wait_for

NAMES = {location.name for location in locations()}
ADD, *_ = commands("Add it")
*_, BUILD, START, DEPLOY = commands("Run it in containers")
REMOVE, STOP = commands("Remove it")
WHEEL, LOCK, *_, BUILD_OTHER = commands(OTHER)
HOST = {"webserver", "daemon"}
MONTH = {"dagster/partition": "2023-01-01"}
# By DuckDB from the file of the source, and what the asset has written.
FIGURES = """
import csv, duckdb
file = "/data/source/trip-data/yellow_tripdata_2023-01.parquet"
query = f"SELECT COUNT(*), ROUND(SUM(total_amount), 2) FROM '{file}'"
count, amount = duckdb.sql(query).fetchone()
(row,) = csv.DictReader(open("/data/outputs/fares_by_month.csv"))
print((int(row["num_trips"]), float(row["total_amount"])) == (count, float(amount)))
"""


def run(stack: Stack, line: str, folder: str = ".") -> str:
    """Run a command of the page in a folder beside the platform's, or in that of the platform."""
    path = f"{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}"
    environment = {**stack.environment, "PATH": path}
    return command("bash", "-c", line, cwd=stack.root / folder, env=environment)


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[Stack]:
    """The stack, which has no location but its own again after these tests."""
    yield stack
    command("git", "checkout", "--quiet", ".", cwd=stack.root)
    command("git", "clean", "--quiet", "--force", "-dx", "fares", cwd=stack.root)
    run(stack, STOP)
    stack.wait_for_locations()


def replaced(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    """What has another container or image, or none before or after."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_new_location_starts_beside_the_others(running: Stack) -> None:
    before = running.services()
    run(running, ADD)
    run(running, BUILD)
    run(running, START)
    running.wait_for_locations()
    assert set(running.graphql.location_errors()) == NAMES | {"fares"}
    assert replaced(before, running.services()) == HOST | {"fares"}


def test_its_automation_runs_in_its_own_image(running: Stack) -> None:
    load = running.graphql.launch("ingestion", "trip_update_job", tags=MONTH)
    assert running.wait_for_run(load) == "SUCCESS", running.graphql.run_failure(load)
    (run_id, *_) = wait_for(
        lambda: list(running.graphql.runs_of("fares", ASSET_JOB)), "a run by automation"
    )
    (found,) = running.inspect(running.container_of(run_id))
    assert found["Config"]["Image"] == running.graphql.location_images()["fares"]
    assert found["Config"]["Image"].startswith(f"{running.project}-fares:")
    assert running.wait_for_run(run_id) == "SUCCESS", running.graphql.run_failure(run_id)
    assert running.python("fares", FIGURES) == "True\n"


def test_its_deploy_replaces_its_container_alone(running: Stack) -> None:
    before, images = running.services(), running.graphql.location_images()
    definitions = running.root / "fares" / "src" / "fares" / "definitions.py"
    definitions.write_text(definitions.read_text() + "# changed\n")
    run(running, DEPLOY)
    assert replaced(before, running.services()) == {"fares"}
    deployed = running.graphql.location_images()
    assert replaced(images, deployed) == {"fares"}
    assert "# changed" in running.execute("fares", "cat", "/app/src/fares/definitions.py")


def test_location_of_another_repository_runs_in_its_image(running: Stack) -> None:
    run(running, WHEEL)
    write_repository(running.root.parent / "tolls", running.root / "shared" / "dist")
    run(running, LOCK, "../tolls")
    run(running, BUILD_OTHER.replace("taxi-", f"{running.project}-"), "../tolls")
    with (running.root / "dg.toml").open("a") as file:
        file.write('\n[[workspace.projects]]\npath = "../tolls"\n')
    run(running, "make generate")
    before = running.services()
    run(running, START.replace("fares", "tolls"))
    running.wait_for_locations()
    assert set(running.graphql.location_errors()) == NAMES | {"fares", "tolls"}
    assert replaced(before, running.services()) == HOST | {"tolls"}
    subset = JobSubset(ASSET_JOB, ["tolls_by_month"])
    run_id = running.graphql.launch("tolls", subset, tags=MONTH)
    assert running.wait_for_run(run_id) == "SUCCESS", running.graphql.run_failure(run_id)


def test_removal_leaves_the_others_and_the_history(running: Stack) -> None:
    (run_id, *_) = running.graphql.runs_of("fares", ASSET_JOB)
    before = running.services()
    run(running, f"{REMOVE} FORCE=1")
    run(running, STOP)
    running.wait_for_locations()
    assert "fares" not in running.graphql.location_errors()
    assert replaced(before, running.services()) == HOST | {"fares"}
    assert running.graphql.runs_of("fares", ASSET_JOB)[run_id] == "SUCCESS"
    assert [each.asset for each in running.graphql.materializations(run_id)] == ["fares_by_month"]
