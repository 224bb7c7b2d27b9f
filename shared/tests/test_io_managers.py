"""Results are stored as files, and loaded as they were."""

import io
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import geopandas
import matplotlib
import pandas as pd
import pytest
import shapely
from matplotlib.figure import Figure
from upath import UPath

from taxi_shared import io_managers, storage
from taxi_shared.io_managers import (
    FileIOManager,
    GeoJsonIOManager,
    PartitionedCsvIOManager,
    PngIOManager,
    concatenate,
    split_by_partition,
)
from taxi_shared.ranges import range_tags

WEEKS = dg.WeeklyPartitionsDefinition("2019-01-06", end_date="2020-01-05")


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path)
    address: str = request.getfixturevalue("s3_root")
    return address


def frame(*rows: tuple[str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(week, n, Decimal(amount)) for week, n, amount in rows],
        columns=["period", "num_trips", "total_amount"],
    )


def csv_manager(root: str) -> PartitionedCsvIOManager:
    return PartitionedCsvIOManager(data_root=root, partition_column="period")


def store(root: str, *rows: tuple[str, int, str], weeks: tuple[str, ...] = ()) -> None:
    """Run an asset whose output is these rows, for their weeks or for `weeks`."""
    keys = sorted(weeks or {week for week, *_ in rows})

    @dg.asset(key="figures", partitions_def=WEEKS, backfill_policy=dg.BackfillPolicy.single_run())
    def figures() -> object:
        return frame(*rows)

    dg.materialize(
        [figures],
        resources={"io_manager": csv_manager(root)},
        tags=range_tags(keys[0], keys[-1]),
    )


def read_output(root: str) -> str:
    return (storage.path_at(root) / "outputs" / "figures.csv").read_text()


def test_range_is_stored_by_partition_and_as_one_csv(root: str) -> None:
    store(root, ("2019-01-13", 2, "5.50"), ("2019-01-06", 1, "7.00"))
    assert read_output(root) == (
        "period,num_trips,total_amount\n2019-01-06,1,7.00\n2019-01-13,2,5.50\n"
    )


def test_storing_a_partition_again_replaces_only_its_rows(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.00"), ("2019-01-13", 2, "5.50"))
    store(root, ("2019-01-06", 3, "-0.10"))
    assert read_output(root).splitlines()[1:] == ["2019-01-06,3,-0.10", "2019-01-13,2,5.50"]


def test_partition_without_new_rows_loses_its_old_ones(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.00"), ("2019-01-13", 2, "5.50"))
    store(root, ("2019-01-13", 2, "5.50"), weeks=("2019-01-06", "2019-01-13"))
    assert read_output(root).splitlines()[1:] == ["2019-01-13,2,5.50"]


def test_rows_of_other_partitions_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"period has 2019-01-13; expected .*2019-01-06"):
        split_by_partition(frame(("2019-01-13", 1, "1.00")), "period", ["2019-01-06"])


def test_csv_rows_are_loaded_with_their_decimals(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.10"), ("2019-01-13", 2, "5.50"))
    context = dg.build_input_context(asset_key=dg.AssetKey("figures"))
    assert csv_manager(root).load_input(context).to_dict("records") == [
        {"period": "2019-01-06", "num_trips": 1, "total_amount": Decimal("7.10")},
        {"period": "2019-01-13", "num_trips": 2, "total_amount": Decimal("5.50")},
    ]


def test_column_that_older_partitions_lack_is_empty() -> None:
    assert concatenate(["a\n1\n", "a,b\n2,3\n"]) == "a,b\n1,\n2,3\n"


def test_partition_stored_during_assembly_is_included(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(root, ("2019-01-06", 1, "7.00"))
    folder, output = (
        storage.path_at(root) / "staging/figures",
        storage.path_at(root) / "outputs/figures.csv",
    )
    late = iter(["period,num_trips,total_amount\n2019-01-13,2,5.50\n"])
    write = storage.write_text

    def write_while_another_run_stores_a_partition(path: UPath, content: str) -> None:
        for rows in late:
            (folder / "2019-01-13.csv").write_text(rows)
        write(path, content)

    monkeypatch.setattr(storage, "write_text", write_while_another_run_stores_a_partition)
    io_managers.assemble(folder, output)
    assert read_output(root).splitlines()[1:] == ["2019-01-06,1,7.00", "2019-01-13,2,5.50"]


def store_one_by_one(root: str, weeks: tuple[str, ...]) -> None:
    for week in weeks:
        store(root, (week, 1, "1.00"))


def test_concurrent_runs_leave_a_complete_csv(tmp_path: Path) -> None:
    root, keys = str(tmp_path), tuple(WEEKS.get_partition_keys())[:24]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert not any(pool.map(store_one_by_one, [root] * 4, [keys[n::4] for n in range(4)]))
    assert read_output(root).splitlines()[1:] == [f"{key},1,1.00" for key in keys]
    assert not list(tmp_path.rglob("*.partial"))


def zones() -> geopandas.GeoDataFrame:
    stats = geopandas.GeoDataFrame(
        {"zone": ["East", "West"], "num_trips": [3, 0]},
        geometry=[shapely.box(-73.98, 40.72, -73.97, 40.73), None],
        crs="EPSG:4326",
    )
    stats.attrs = {"period": "January 2019"}
    return stats


def materialize(manager: FileIOManager, result: object) -> dict[str, Any]:
    """Store a result as the asset `result`; the metadata of its materialization."""

    @dg.asset(key="result")
    def asset() -> object:
        return result

    run = dg.materialize([asset], resources={"io_manager": manager})
    (event,) = run.asset_materializations_for_node("result")
    return dict(event.metadata)


def load(manager: FileIOManager) -> object:
    return manager.load_input(dg.build_input_context(asset_key=dg.AssetKey("result")))


def test_geojson_is_loaded_with_shapes_and_attrs(root: str) -> None:
    manager = GeoJsonIOManager(data_root=root)
    metadata = materialize(manager, zones())
    content = (storage.path_at(root) / "staging" / "result.geojson").read_bytes()
    assert json.loads(content)["period"] == "January 2019"
    assert metadata["bytes"].value == len(content)
    assert metadata["dagster/row_count"].value == 2
    assert metadata["period"].value == "January 2019"
    assert "| East | 3 |" in str(metadata["preview"].value)
    found = load(manager)
    assert isinstance(found, geopandas.GeoDataFrame)
    assert found.attrs == {"period": "January 2019"}
    assert found.crs == "EPSG:4326"
    assert found[["zone", "num_trips"]].equals(zones()[["zone", "num_trips"]])
    assert found.geometry[0].equals(zones().geometry[0])
    assert found.geometry[1] is None


def test_png_is_stored_and_shown(root: str) -> None:
    manager = PngIOManager(data_root=root)
    metadata = materialize(manager, Figure())
    content = (storage.path_at(root) / "outputs" / "result.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert metadata["bytes"].value == len(content)
    assert "data:image/png;base64," in str(metadata["preview"].value)
    assert load(manager) == content


def test_png_does_not_name_the_version_of_matplotlib() -> None:
    default = io.BytesIO()
    Figure().savefig(default, format="png")
    version = matplotlib.__version__.encode()
    assert version in default.getvalue()
    assert version not in PngIOManager(data_root="any").to_bytes(Figure())


def test_partitioned_asset_has_a_file_per_partition(tmp_path: Path) -> None:
    @dg.asset(key=["maps", "weekly"], partitions_def=WEEKS)
    def weekly_map() -> object:
        return Figure()

    manager = PngIOManager(data_root=str(tmp_path))
    dg.materialize([weekly_map], resources={"io_manager": manager}, partition_key="2019-01-06")
    assert (tmp_path / "outputs" / "maps" / "weekly" / "2019-01-06.png").is_file()


@pytest.mark.parametrize("package", ["geopandas", "pandas"])
def test_missing_package_is_named_with_what_needs_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path)
    managers = {"geopandas": GeoJsonIOManager(data_root=root), "pandas": csv_manager(root)}
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "result.geojson").write_text(zones().to_json())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {package}: add {package} to the depend"):
        managers[package].load_input(dg.build_input_context(asset_key=dg.AssetKey("result")))
