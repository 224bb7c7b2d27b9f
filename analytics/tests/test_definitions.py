import subprocess
import sys

import dagster as dg

from analytics.definitions import defs
from taxi_shared import keys


def test_definitions_load_without_heavy_packages() -> None:
    heavy = "{'geopandas', 'shapely', 'matplotlib', 'pandas', 'numpy', 'pyarrow'}"
    script = (
        "import sys; from analytics.definitions import defs; defs.get_repository_def(); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.stdout == "[]\n", run.stderr


def test_definitions_are_valid_without_other_locations() -> None:
    dg.Definitions.validate_loadable(defs)


def test_jobs_select_their_assets() -> None:
    graph = defs.resolve_asset_graph()
    jobs = {
        name: defs.resolve_job_def(name).asset_layer.selected_asset_keys
        for name in ("weekly_update_job", "manhattan_update_job")
    }
    assert jobs == {
        "weekly_update_job": {keys.TRIPS_BY_WEEK},
        "manhattan_update_job": {keys.MANHATTAN_STATS, keys.MANHATTAN_MAP},
    }
    made_here = graph.materializable_asset_keys
    assert made_here == {keys.TRIPS_BY_WEEK, keys.MANHATTAN_STATS, keys.MANHATTAN_MAP}
    assert {graph.get(key).group_name for key in made_here} == {keys.METRICS}


def test_assets_depend_on_tables_of_ingestion() -> None:
    graph = defs.resolve_asset_graph()
    assert graph.get(keys.TRIPS_BY_WEEK).parent_keys == {keys.TAXI_TRIPS}
    assert graph.get(keys.MANHATTAN_STATS).parent_keys == {keys.TAXI_TRIPS, keys.TAXI_ZONES}
    assert graph.get(keys.MANHATTAN_MAP).parent_keys == {keys.MANHATTAN_STATS}


def test_automation_sensor_runs_by_default() -> None:
    (sensor,) = defs.sensors or ()
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
