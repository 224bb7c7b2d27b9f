"""A location of another repository has `taxi_shared` as a wheel, and one line in dg.toml."""

import shutil
import subprocess
import venv
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.sample import write_sample
from taxi_platform.scaffold import Scaffold
from taxi_platform.workspace import ROOT, Location, locations

pytestmark = pytest.mark.system

MONTHS = MonthRange.between("2023-01", "2023-02")
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@pytest.fixture
def tolls(tmp_path: Path) -> Location:
    """The location, in a folder beside that of a platform which lists it."""
    for path, text in Scaffold("tolls").render().items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    build = [UV, "build", "--quiet", "--wheel", str(ROOT / "shared"), "--out-dir", str(tmp_path)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("taxi_shared-*.whl")
    environment = tmp_path / "tolls" / ".venv"
    venv.create(environment)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    shutil.unpack_archive(wheel, packages, "zip")
    # What the wheel depends on, without installing it once more.
    (others,) = (ROOT / "analytics" / ".venv").glob("lib/python3.*/site-packages")
    (packages / "tolls.pth").write_text(f"{environment.parent / 'src'}\n{others}\n")
    platform = tmp_path / "platform" / "dg.toml"
    platform.parent.mkdir()
    platform.write_text("[workspace]\nprojects = [{path = '../tolls'}]\n")
    (found,) = locations(platform)
    return found


def test_its_assets_are_made_with_those_of_the_platform(tolls: Location, tmp_path: Path) -> None:
    assert not tolls.is_here
    code = "import taxi_shared; print(taxi_shared.__file__)"
    imported = subprocess.check_output([tolls.python, "-c", code], text=True)
    assert Path(imported.strip()).is_relative_to(tmp_path / "tolls" / ".venv")
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
