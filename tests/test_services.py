"""Every service that TLC publishes is loaded by the command `pipeline`, as TAXI_SERVICES says."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from taxi_platform.sample import write_sample
from taxi_shared.services import SERVICES

from .conftest import SETTINGS

MONTH = date(2023, 2, 1)
ROWS = 2_000


def pipeline(base: Path, chosen: str, more: str) -> subprocess.CompletedProcess[str]:
    """Run the command for one month of the sample, with trips of `more` services."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    command = [sys.executable, "-m", "taxi_platform", "pipeline", "--services", more]
    return subprocess.run(
        [*command, "--from", f"{MONTH:%Y-%m}", "--to", f"{MONTH:%Y-%m}"],
        check=False,
        env={
            **kept,
            "DAGSTER_HOME": str(base / "home"),
            "TAXI_DATA_ROOT": str(base / "data"),
            "TLC_SOURCE_URL": str(base / "source"),
            "TAXI_ZONES_URL": str(base / "source" / "misc" / "taxi_zones.csv"),
            "TAXI_START_DATE": f"{MONTH:%Y-%m-%d}",
            "TAXI_SERVICES": chosen,
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.system
def test_pipeline_loads_every_service(tmp_path: Path) -> None:
    names = [service.name for service in SERVICES]
    source = tmp_path / "source"
    files = {name: write_sample(source, [MONTH], ROWS, service=name)[0] for name in names}
    done = pipeline(tmp_path, ",".join(names), ",".join(names[1:]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not materialized" not in done.stdout
    with duckdb.connect(str(tmp_path / "data" / "staging" / "data.duckdb"), read_only=True) as con:
        for service in SERVICES:
            pickups = next(c for c in service.table.columns if c.name == "pickup_datetime")
            found = pq.read_table(files[service.name])
            (name,) = set(pickups.sources) & set(found.column_names)
            expected = sorted(found.column(name).to_pylist())
            got = con.execute(f"SELECT pickup_datetime FROM {service.table.name} ORDER BY ALL")
            assert [moment for (moment,) in got.fetchall()] == expected
            days = f"SELECT sum(num_trips) FROM {service.table.name.removesuffix('s')}_days"
            assert con.execute(days).fetchone() == (ROWS,)


def test_pipeline_needs_yellow_trips(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "green,fhvhv", "")
    assert done.returncode == 1
    assert "TAXI_SERVICES is 'green,fhvhv'; expected yellow in it" in done.stderr
    done = pipeline(tmp_path, "uber", "")
    assert done.returncode == 1
    assert "Error: TAXI_SERVICES is 'uber'; expected one or more of yellow" in done.stderr


@pytest.mark.parametrize("more", ["fhvhv", "yellow", "green,uber"])
def test_service_that_is_not_chosen_is_refused(tmp_path: Path, more: str) -> None:
    done = pipeline(tmp_path, "yellow,green", more)
    assert done.returncode == 2
    wrong = more.removeprefix("green,")
    assert f"{wrong}; expected some of green, the services besides yellow" in done.stderr
