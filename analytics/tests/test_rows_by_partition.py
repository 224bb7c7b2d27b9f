import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from upath import UPath

from analytics.lib import rows_by_partition
from analytics.lib.rows_by_partition import RowsByPartitionCsv, concatenate, split
from taxi_shared import storage

WEEKS = dg.WeeklyPartitionsDefinition("2019-01-06", end_date="2020-01-05")


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")


def frame(*rows: tuple[str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(week, n, Decimal(amount)) for week, n, amount in rows],
        columns=["period", "num_trips", "total_amount"],
    )


def store(root: str, *rows: tuple[str, int, str], weeks: tuple[str, ...] = ()) -> None:
    """Run an asset whose output is these rows, for their weeks or for `weeks`."""
    keys = sorted(weeks or {week for week, *_ in rows})

    @dg.asset(key="figures", partitions_def=WEEKS, backfill_policy=dg.BackfillPolicy.single_run())
    def figures() -> object:
        return frame(*rows)

    dg.materialize(
        [figures],
        resources={"io_manager": RowsByPartitionCsv(data_root=root, partition_column="period")},
        tags={
            "dagster/asset_partition_range_start": keys[0],
            "dagster/asset_partition_range_end": keys[-1],
        },
    )


def stored(root: str) -> str:
    return (storage.at(root) / "outputs" / "figures.csv").read_text()


def test_a_range_is_stored_by_partition_and_assembled_into_one_file(root: str) -> None:
    store(root, ("2019-01-13", 2, "5.50"), ("2019-01-06", 1, "7.00"))
    assert stored(root) == ("period,num_trips,total_amount\n2019-01-06,1,7.00\n2019-01-13,2,5.50\n")


def test_storing_a_partition_again_replaces_its_rows_and_no_others(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.00"), ("2019-01-13", 2, "5.50"))
    store(root, ("2019-01-06", 3, "-0.10"))
    assert stored(root).splitlines()[1:] == ["2019-01-06,3,-0.10", "2019-01-13,2,5.50"]


def test_a_partition_of_the_run_without_rows_has_none_afterwards(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.00"), ("2019-01-13", 2, "5.50"))
    store(root, ("2019-01-13", 2, "5.50"), weeks=("2019-01-06", "2019-01-13"))
    assert stored(root).splitlines()[1:] == ["2019-01-13,2,5.50"]


def test_rows_of_a_partition_outside_the_run_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"period has 2019-01-13; expected .*2019-01-06"):
        split(frame(("2019-01-13", 1, "1.00")), "period", ["2019-01-06"])


def test_stored_rows_are_loaded_with_their_decimals(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.10"), ("2019-01-13", 2, "5.50"))
    manager = RowsByPartitionCsv(data_root=root, partition_column="period")
    loaded = manager.load_input(dg.build_input_context(asset_key=dg.AssetKey("figures")))
    assert loaded.to_dict("records") == [
        {"period": "2019-01-06", "num_trips": 1, "total_amount": Decimal("7.10")},
        {"period": "2019-01-13", "num_trips": 2, "total_amount": Decimal("5.50")},
    ]


def test_a_column_that_older_parts_lack_is_empty_there() -> None:
    assert concatenate(["a\n1\n", "a,b\n2,3\n"]) == "a,b\n1,\n2,3\n"


def test_a_part_that_comes_while_the_file_is_assembled_is_in_the_file(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(root, ("2019-01-06", 1, "7.00"))
    folder, whole = storage.at(root) / "staging/figures", storage.at(root) / "outputs/figures.csv"
    late = iter(["period,num_trips,total_amount\n2019-01-13,2,5.50\n"])
    write = rows_by_partition.storage.write_text

    def write_while_another_run_stores_a_part(path: UPath, content: str) -> None:
        for part in late:
            (folder / "2019-01-13.csv").write_text(part)
        write(path, content)

    monkeypatch.setattr(
        rows_by_partition.storage, "write_text", write_while_another_run_stores_a_part
    )
    rows_by_partition.assemble(folder, whole)
    assert stored(root).splitlines()[1:] == ["2019-01-06,1,7.00", "2019-01-13,2,5.50"]


def test_a_replaced_part_is_noticed_though_its_size_is_the_same(root: str) -> None:
    store(root, ("2019-01-06", 1, "7.00"))
    folder = storage.at(root) / "staging/figures"
    before = storage.versions_below(folder)
    store(root, ("2019-01-06", 2, "7.00"))
    assert storage.versions_below(folder) != before


def store_one_by_one(root: str, weeks: tuple[str, ...]) -> None:
    for week in weeks:
        store(root, (week, 1, "1.00"))


def test_processes_that_store_different_weeks_at_once_leave_a_complete_file(
    tmp_path: Path,
) -> None:
    root, keys = str(tmp_path), tuple(WEEKS.get_partition_keys())[:24]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert not any(pool.map(store_one_by_one, [root] * 4, [keys[n::4] for n in range(4)]))
    assert stored(root).splitlines()[1:] == [f"{key},1,1.00" for key in keys]
    assert not list(tmp_path.rglob("*.partial"))
