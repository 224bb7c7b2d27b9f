"""A location of another repository has `taxi_shared` as a wheel, and one line in dg.toml."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT, Location, locations
from tests.how_to import OTHER, commands, write_repository

pytestmark = pytest.mark.system

MONTHS = MonthRange.between("2023-01", "2023-02")
BUILD, *INSTALL, _ = commands(OTHER)  # the last one needs a Docker Engine


def run(command: str, folder: Path) -> None:
    """Run a command of the page, with the uv that `make setup` may have installed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}"
    environment = {**os.environ, "PATH": path}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.fixture(scope="module")
def tolls(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """A clone of the location's repository, beside the platform, whose dg.toml lists it."""
    base = tmp_path_factory.mktemp("tolls")
    platform, origin = base / "platform", base / "origin"
    shutil.copytree(ROOT / "shared", platform / "shared", ignore=shutil.ignore_patterns("dist"))
    run(BUILD, platform)
    write_repository(origin / "tolls", platform / "shared" / "dist")
    run("git clone --quiet origin/tolls tolls", base)
    for command in INSTALL:
        run(command, base / "tolls")
    (platform / "dg.toml").write_text("[workspace]\nprojects = [{path = '../tolls'}]\n")
    (found,) = locations(platform / "dg.toml")
    return found


def test_wheel_is_installed_by_its_hash(tolls: Location) -> None:
    (wheel,) = (tolls.folder / "wheels").iterdir()
    lock = (tolls.folder / "requirements.lock").read_text()
    (found,) = re.findall(r"^taxi-shared==.+\n +--hash=sha256:(\w+)", lock, re.M)
    assert found == hashlib.sha256(wheel.read_bytes()).hexdigest()
    code = "import taxi_shared; print(taxi_shared.__file__)"
    imported = subprocess.check_output([tolls.python, "-c", code], text=True)
    assert Path(imported.strip()).is_relative_to(tolls.folder.resolve() / ".venv")
    assert not tolls.is_here


def test_its_assets_are_made_with_those_of_the_platform(tolls: Location, tmp_path: Path) -> None:
    contracts = [str(tolls.python), "-m", "taxi_shared.contracts", "tolls"]
    assert subprocess.check_output(contracts, cwd=tmp_path) == b""
    write_sample(tmp_path / "source", MONTHS.months, 2_000)
    environment = {
        "TAXI_DATA_ROOT": str(tmp_path / "data"),
        "TLC_SOURCE_URL": str(tmp_path / "source"),
        "TAXI_ZONES_URL": str(tmp_path / "source" / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": "2023-01-01",
        "TAXI_END_DATE": "2023-03-01",
    }
    ingestion = next(each for each in locations() if each.name == "ingestion")
    with Instance(
        tmp_path / "home", daemon=False, environment=environment, served=[ingestion, tolls]
    ) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()
        pipeline.run_all(MONTHS)
    by_hand = [
        (month.isoformat(), len(trips), round(float(trips["total_amount"].sum()), 2))
        for month in MONTHS.months
        for trips in [
            pd.read_parquet(tmp_path / f"source/trip-data/yellow_tripdata_{month:%Y-%m}.parquet")
        ]
    ]
    made = pd.read_csv(tmp_path / "data" / "outputs" / "tolls_by_month.csv")
    assert [tuple(row) for row in made.itertuples(index=False)] == by_hand
