"""The example notebook executes, and its tables are those of the lake."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from taxi_platform.workspace import ROOT
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_shared.tables import ZONES
from taxi_testing.lakes import Month

NOTEBOOK = ROOT / "examples" / "lake" / "notebook.ipynb"
TRIPS = """
    SELECT
        10 + range % 2 AS fare_amount, 1 AS pickup_zone_id, 8::INTEGER AS pickup_hour,
        $month::DATE AS pickup_date
    FROM range($rows)
"""
ZONE = "SELECT 1 AS zone_id, 'JFK Airport' AS zone, 'Queens' AS borough"


def test_example_notebook_executes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    with database.get_connection(tables=[]) as con:
        for month, rows in (("2023-01-01", 4), ("2023-02-01", 6)):
            trips = Rows(TRIPS, {"month": month, "rows": rows})
            Month(month, trips).write(con, database.lake)
        database.lake.write(con, ZONES, Rows(ZONE))
    monkeypatch.setenv("TAXI_DATA_ROOT", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=120, resources=folder).execute()
    shown = [
        output["data"].get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    months, zones, figure = (each.split() for each in shown)
    assert months[-4:] == ["1", "2023-02-01", "6", "10.5"]
    assert zones == ["zone", "borough", "pickups", "0", "JFK", "Airport", "Queens", "10"]
    assert figure[0] == "<Figure"


def test_example_notebook_is_stored_with_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code[1:])
    assert not any(str(ROOT) in str(cell) for cell in notebook.cells)
