"""Whether a platform is sound after a fault, by other means than its own code.

Source and lake are read by pyarrow, the lake's log by `deltalake`, receipts as JSON, and what
Dagster recorded by its API.
"""

import hashlib
import json
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from taxi_platform.instance import Instance, RunningInstance
from tests.faults.site import MONTHS, Site, load, processes_with
from tests.waiting import wait_for

LONGEST_RUN_SECONDS = 7 * 3600  # `max_runtime_seconds` of dagster.yaml, and some
UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
Figures = tuple[int, Decimal]
AnyInstance = Instance | RunningInstance


def assert_sound(site: Site, instance: Instance, months: Sequence[str] = MONTHS) -> None:
    """Check that the lake has exactly these months, once, and that all records agree with it.

    An ordinary load must then change nothing, and remove what killed processes have left: files
    that are older than the longest run.
    """
    assert_equal_source(site, instance, months)
    wait_for_runs(instance)
    long_ago = time.time() - LONGEST_RUN_SECONDS
    for path in map(Path, left_files(site)):
        for each in (path, *path.rglob("*")):  # what a folder has in it counts as well
            with suppress(FileNotFoundError):  # of a sensor, which writes now and then
                os.utime(each, (long_ago, long_ago))
    load(instance, months)
    assert_equal_source(site, instance, months)
    wait_for_runs(instance)
    wait_for(lambda: not left_files(site), lambda: f"the removal of {left_files(site)}", 5)


def wait_for_runs(instance: AnyInstance) -> None:
    """Wait for the runs that follow a load: the files that they have in use are not left."""
    wait_for(lambda: not unfinished_runs(instance), "the end of all runs")


def assert_equal_source(site: Site, instance: AnyInstance, months: Sequence[str]) -> None:
    """Check that lake, receipts and Dagster's records have exactly these months of the source."""
    expected = {month: of_source(site, month) for month in months}
    assert of_lake(site, "trips") == expected
    numbers = {month: rows for month, (rows, _) in expected.items()}
    assert {month: rows for month, (rows, _) in of_days(site).items()} == numbers
    for asset in ("taxi_trips", "taxi_trips_file"):
        assert recorded(instance, asset) == set(months), asset
    assert receipts(site) == set(months)


def of_source(site: Site, month: str) -> Figures:
    """Number of trips and sum of their amounts in the file that the source publishes."""
    return _figures([site.source / "trip-data" / f"yellow_tripdata_{month[:7]}.parquet"])


def of_lake(site: Site, table: str) -> dict[str, Figures]:
    """Number of rows and sum of amounts of each month in the lake, by the table's log."""
    folder = site.data / "staging" / table
    if not (folder / "_delta_log").exists():
        return {}
    log = DeltaTable(str(folder)).get_add_actions(flatten=True)
    paths = [str(path) for path in log.column("path").to_pylist()]
    months = [path.partition("partition_date=")[2].partition("/")[0] for path in paths]
    return {
        month: _figures(
            [folder / path for path, of in zip(paths, months, strict=True) if of == month]
        )
        for month in sorted(set(months))
    }


def of_days(site: Site) -> dict[str, Figures]:
    """Number of trips and sum of amounts of each month, by the days that belong to its trips.

    They share a token in their names: readers take days from the log of trips.
    """
    trips = site.data / "staging" / "trips"
    found = {}
    log = DeltaTable(str(trips)).get_add_actions(flatten=True)
    for name in map(str, log.column("path").to_pylist()):
        days = name.replace("/trips-", "/trip_days-")
        table = pq.read_table(site.data / "staging" / "trip_days" / days, partitioning=None)
        month = name.partition("partition_date=")[2].partition("/")[0]
        found[month] = (pc.sum(table["num_trips"]).as_py(), pc.sum(table["total_amount"]).as_py())
    return found


def recorded(instance: AnyInstance, asset: str) -> set[str]:
    """The partitions of an asset that Dagster shows as materialized."""
    found = instance.graphql.ask(
        """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
            ... on AssetNode { assetPartitionStatuses { __typename
              ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }""",
        key={"path": [asset]},
    )["assetNodeOrError"]["assetPartitionStatuses"]
    ranges = [r for r in found["ranges"] if r["status"] == "MATERIALIZED"]
    months = [pd.date_range(r["startKey"], r["endKey"], freq="MS") for r in ranges]
    return {str(month.date()) for each in months for month in each}


def receipts(site: Site) -> set[str]:
    """The months whose raw file is as its receipt says, in length and content."""
    found = set()
    for path in sorted((site.data / "raw").glob("taxi_trips_*.parquet")):
        receipt = json.loads(path.with_name(f"{path.name}.source.json").read_bytes())
        content = path.read_bytes()
        assert receipt["bytes"] == len(content), path
        assert receipt["sha256"] == hashlib.sha256(content).hexdigest(), path
        found.add(f"{path.stem.removeprefix('taxi_trips_')}-01")
    return found


def left_files(site: Site) -> list[str]:
    """Partial files, claims on months, and what runs left in the temporary folder."""
    data = [p for p in site.data.rglob("*") if p.is_file() and p.suffix == ".partial"]
    claims = (site.data / "staging" / "loads").rglob("*.json")
    spilled = [p for p in (site.base / "tmp").iterdir() if "duckdb" in p.name]
    return [str(path) for path in (*data, *claims, *spilled)]


def unfinished_runs(instance: AnyInstance) -> list[str]:
    """The runs that have not ended."""
    found = instance.graphql.ask("{ runsOrError { ... on Runs { results { runId status } } } }")[
        "runsOrError"
    ]["results"]
    return [run["runId"] for run in found if run["status"] in UNFINISHED]


def assert_nothing_runs(site: Site) -> None:
    """Check that no process of the platform is left."""
    assert processes_with(str(site.base)) == []


def assert_reports(site: Site, names: Collection[str], rejected: Collection[str] = ()) -> None:
    """Check that each request has its chart, each bad one a reason, and nothing else has."""
    outputs = site.data / "outputs"
    found = {p.stem: json.loads(p.read_bytes())["status"] for p in _outcomes(outputs)}
    assert found == {**dict.fromkeys(names, "done"), **dict.fromkeys(rejected, "rejected")}
    assert {p.stem for p in outputs.glob("*.png")} >= set(names)


def _outcomes(outputs: Path) -> list[Path]:
    return [p for p in outputs.glob("*.json") if "status" in json.loads(p.read_bytes())]


def _figures(files: Sequence[Path]) -> Figures:
    tables = [pq.read_table(file, columns=["total_amount"], partitioning=None) for file in files]
    return sum(table.num_rows for table in tables), sum(map(_dollars, tables), Decimal())


def _dollars(table: pa.Table) -> Decimal:
    """The sum of amounts, each rounded to cents."""
    cents = pc.round(pc.multiply(pc.cast(table[0], "double"), 100.0))
    return Decimal(pc.sum(pc.cast(cents, "int64")).as_py() or 0) / 100
