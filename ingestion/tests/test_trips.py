"""`taxi_trips_file` and `taxi_trips`, by real runs on an ephemeral instance."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from upath import UPath

from ingestion import definitions
from ingestion.defs.resources import TlcSource
from ingestion.defs.trips import trip_assets
from ingestion.lib.conform import ReadPlan
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.services import GREEN, YELLOW, Service
from taxi_shared.tables import PARTITION_DATE, TABLES, Column, Table, days_of
from taxi_shared.versions import DATA_VERSION

from .conftest import Publisher, body, status
from .layouts import green, parquet, yellow

MONTHS = ("2023-01-01", "2023-02-01", "2023-03-01")
yellow_trips, green_trips = trip_assets(YELLOW), trip_assets(GREEN)


class Ingestion:
    """The assets of trips, with a publisher and a data root for one test."""

    def __init__(
        self, publisher: Publisher, root: Path | str, instance: dg.DagsterInstance
    ) -> None:
        self.publisher, self.root, self.instance = publisher, UPath(root), instance

    def publish(self, *months: str, rows: int = 3) -> None:
        """Publish months of yellow trips, each trip picked up on the fifth."""
        for month in months:
            self.publish_table("yellow", month, picked_up_in(month, yellow(month[:7], rows)))

    def publish_table(self, service: str, month: str, table: pa.Table) -> None:
        path = f"/trip-data/{service}_tripdata_{month[:7]}.parquet"
        content = parquet(table)
        self.publisher.files[path] = content
        self.publisher.etags[path] = f'"{hash(content)}"'

    def run(
        self,
        first: str,
        last: str,
        selection: Sequence[dg.AssetKey] | None = None,
        assets: dg.AssetsDefinition = yellow_trips,
        **config: object,
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [assets],
            selection=selection,
            instance=self.instance,
            resources={
                "tlc": TlcSource(
                    url=self.publisher.url,
                    zones_url="",
                    attempts=2,
                    first_wait_seconds=0.01,
                    retry_wait_seconds=0.01,
                ),
                "database": LakeDatabase(data_root=str(self.root)),
            },
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            run_config={"ops": {assets.op.name: {"config": config}}},
            raise_on_error=False,
        )

    def trips(self, table: str = "trips") -> dict[str, int]:
        with LakeDatabase(data_root=str(self.root)).get_connection() as con:
            return {
                str(day): count
                for day, count in con.execute(
                    f"SELECT partition_date, count(*) FROM {table} GROUP BY ALL ORDER BY ALL"
                ).fetchall()
            }

    def fetches(self) -> list[str]:
        return [path[-15:-8] for method, path in self.publisher.requests if method == "GET"]


def picked_up_in(month: str, table: pa.Table) -> pa.Table:
    """The trips of a file, each picked up on the fifth of a month."""
    (name,) = (name for name in table.column_names if name.endswith("pickup_datetime"))
    pickups = pa.array([datetime.fromisoformat(month).replace(day=5)] * len(table))
    column = pickups.cast(table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), name, column)


@pytest.fixture
def ingestion(publisher: Publisher, tmp_path: Path, instance: dg.DagsterInstance) -> Ingestion:
    return Ingestion(publisher, tmp_path, instance)


def materialized(result: dg.ExecuteInProcessResult) -> list[tuple[str, str | None]]:
    return sorted(
        (event.asset_key.to_user_string(), event.partition)
        for event in result.all_events
        if event.is_step_materialization and event.asset_key
    )


def metadata(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> Mapping[str, Any]:
    """The values of the metadata of an asset's last materialization."""
    events = result.get_asset_materialization_events()
    (*_, last) = (event for event in events if event.asset_key == asset)
    return {name: entry.value for name, entry in last.materialization.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    event = next(e for e in result.all_events if e.is_step_failure)
    return str(event.step_failure_data.user_failure_data or "") + str(event.step_failure_data.error)


def test_range_of_months_records_each_partition_once(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    result = ingestion.run(MONTHS[0], MONTHS[-1])
    assert result.success
    assert materialized(result) == sorted(
        (name, month) for name in ("taxi_trips", "taxi_trips_file") for month in MONTHS
    )
    for asset in (keys.TAXI_TRIPS_FILE, keys.TAXI_TRIPS):
        found = metadata(result, asset)
        assert found["dagster/row_count"] == 3
        assert found["bytes"] > 0
        assert found["seconds"] >= 0
    assert ingestion.trips() == dict.fromkeys(MONTHS, 3)


def retries(result: dg.ExecuteInProcessResult) -> int:
    return sum(e.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY for e in result.all_events)


def outage(ingestion: Ingestion, month: str, answers: int) -> None:
    """Have the publisher answer HTTP 503 for a month's file, a number of times."""
    path = f"/trip-data/yellow_tripdata_{month[:7]}.parquet"
    ingestion.publisher.misbehave[path] = [status(503)] * answers


def recorded(ingestion: Ingestion) -> list[str]:
    """The months of each materialization of `taxi_trips`, sorted."""
    records = ingestion.instance.fetch_materializations(keys.TAXI_TRIPS, limit=10).records
    return sorted(str(record.partition_key) for record in records)


def test_step_is_retried_after_an_outage(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    outage(ingestion, MONTHS[1], 3)  # the download tries twice
    result = ingestion.run(MONTHS[0], MONTHS[-1])
    assert result.success
    assert retries(result) == 1
    assert ingestion.trips() == dict.fromkeys(MONTHS, 3)
    assert ingestion.fetches().count("2023-01") == 2  # the second of them finds it unchanged
    assert recorded(ingestion) == list(MONTHS)


def test_month_fails_after_two_retries_of_the_step(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    outage(ingestion, MONTHS[1], 100)
    result = ingestion.run(MONTHS[0], MONTHS[-1])
    assert not result.success
    assert retries(result) == 2
    assert "HTTP 503" in failure(result)
    assert ingestion.trips() == {MONTHS[0]: 3, MONTHS[2]: 3}
    assert recorded(ingestion) == [MONTHS[0], MONTHS[2]]


def test_month_that_is_not_published_is_not_retried(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[0])
    assert retries(ingestion.run(MONTHS[0], MONTHS[-1])) == 0


def test_failed_month_is_named_and_others_are_loaded(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[0], MONTHS[2])
    ingestion.publisher.missing = 404
    result = ingestion.run(MONTHS[0], MONTHS[-1])
    assert not result.success
    assert "TLC has not published the yellow trips of 2023-02" in failure(result)
    assert "1 of 3 partitions failed" in failure(result)
    assert ingestion.trips() == {MONTHS[0]: 3, MONTHS[2]: 3}
    for asset in (keys.TAXI_TRIPS_FILE, keys.TAXI_TRIPS):
        assert ingestion.instance.get_materialized_partitions(asset) == {MONTHS[0], MONTHS[2]}


def test_next_run_loads_only_what_is_missing(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[0], MONTHS[2])
    ingestion.run(MONTHS[0], MONTHS[-1])
    before = {p: p.stat().st_mtime_ns for p in ingestion.root.rglob("*.parquet")}
    ingestion.publish(MONTHS[1])
    assert ingestion.run(MONTHS[0], MONTHS[-1]).success
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert ingestion.trips() == dict.fromkeys(MONTHS, 3)


def test_replaced_file_replaces_its_partition(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    ingestion.run(MONTHS[0], MONTHS[-1])
    ingestion.publish(MONTHS[1], rows=2)
    assert ingestion.run(MONTHS[1], MONTHS[1]).success
    assert ingestion.trips() == {MONTHS[0]: 3, MONTHS[1]: 2, MONTHS[2]: 3}


def test_damaged_partition_is_written_again(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[0])
    ingestion.run(MONTHS[0], MONTHS[0])
    lake = LakeDatabase(data_root=str(ingestion.root)).lake
    file = lake.snapshot().files(YELLOW.table)[MONTHS[0]].path
    good = file.read_bytes()
    with duckdb.connect() as con:
        con.execute("COPY (SELECT 1 AS vendor_id) TO $file (FORMAT parquet)", {"file": str(file)})
    assert ingestion.run(MONTHS[0], MONTHS[0]).success
    assert lake.snapshot().files(YELLOW.table)[MONTHS[0]].path.read_bytes() == good


def test_load_without_a_file_says_what_to_do(ingestion: Ingestion) -> None:
    result = ingestion.run(MONTHS[0], MONTHS[0], selection=[keys.TAXI_TRIPS])
    assert not result.success
    assert "materialize the file's asset first" in failure(result)


def test_table_alone_is_loaded_from_the_stored_file(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[0])
    assert ingestion.run(MONTHS[0], MONTHS[0], selection=[keys.TAXI_TRIPS_FILE]).success
    assert ingestion.trips() == {}
    assert ingestion.run(MONTHS[0], MONTHS[0], selection=[keys.TAXI_TRIPS]).success
    assert ingestion.fetches() == ["2023-01"]
    assert ingestion.trips() == {MONTHS[0]: 3}


def test_broken_file_keeps_the_previous_rows_of_its_month(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    ingestion.run(MONTHS[0], MONTHS[-1])
    path = "/trip-data/yellow_tripdata_2023-02.parquet"
    ingestion.publisher.files[path] = b"PAR1 not really PAR1"
    ingestion.publisher.etags[path] = '"broken"'
    result = ingestion.run(MONTHS[0], MONTHS[-1])
    assert "1 of 3 partitions failed" in failure(result)
    assert "yellow_tripdata_2023-02.parquet has a damaged footer" in failure(result)
    assert ingestion.trips() == dict.fromkeys(MONTHS, 3)


def test_months_loaded_in_any_order_give_the_same_bytes(
    publisher: Publisher, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    def load(name: str, ranges: list[tuple[str, str]]) -> dict[str, bytes]:
        ingestion = Ingestion(publisher, tmp_path / name, instance)
        ingestion.publish(*MONTHS)
        for first, last in ranges:
            assert ingestion.run(first, last).success
        lake = LakeDatabase(data_root=str(ingestion.root)).lake.snapshot()
        return {
            f"{table.name} {partition}": file.path.read_bytes()
            for table in TABLES
            for partition, file in lake.files(table).items()
        }

    together = load("together", [(MONTHS[0], MONTHS[-1])])
    apart = load("apart", [(month, month) for month in reversed(MONTHS)])
    assert together == apart
    assert len(together) == 6


def test_duckdb_file_can_be_opened_while_a_month_loads(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    ingestion.run(MONTHS[0], MONTHS[-1])
    path = ingestion.root / "staging" / "data.duckdb"
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("SELECT COUNT(*) FROM trips").fetchone() == (9,)
        ingestion.publish("2023-04-01")
        assert ingestion.run("2023-04-01", "2023-04-01").success  # while the file is open
        assert con.execute("SELECT COUNT(*) FROM trips").fetchone() == (9,)
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("SELECT COUNT(*) FROM trips").fetchone() == (12,)


def test_week_is_read_from_the_files_that_hold_it(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)  # all trips are of the fifth
    ingestion.run(MONTHS[0], MONTHS[-1])
    database = LakeDatabase(data_root=str(ingestion.root))
    for first, end, number in (
        (date(2023, 3, 5), date(2023, 3, 12), 3),
        (date(2023, 1, 1), date(2023, 2, 6), 6),
        (date(2023, 1, 8), date(2023, 1, 15), 0),
    ):
        with database.get_connection(pickup_dates=(first, end)) as con:
            assert con.execute("SELECT count(*) FROM trips").fetchone() == (number,)


def test_green_trips_are_loaded_into_their_own_table(ingestion: Ingestion) -> None:
    for month in ("2024-01-01", "2025-01-01"):
        ingestion.publish_table("green", month, picked_up_in(month, green(month[:7])))
        assert ingestion.run(month, month, assets=green_trips).success
    assert ingestion.trips("green_trips") == {"2024-01-01": 3, "2025-01-01": 3}
    assert ingestion.trips() == {}
    assert (ingestion.root / "raw" / "green_trips_2024-01.parquet").is_file()
    ingestion.publisher.missing = 404
    result = ingestion.run("2024-02-01", "2024-02-01", assets=green_trips)
    assert "TLC has not published the green trips of 2024-02" in failure(result)


def test_another_service_needs_only_a_description(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        Column("base", "VARCHAR", "Base that sent the car.", ("dispatching_base_num",)),
        Column("pickup_datetime", "TIMESTAMP", "Pickup.", ("pickup_datetime",)),
        Column("dropoff_zone_id", "INTEGER", "Drop-off.", ("DOlocationID",)),
        Column("pickup_date", "DATE", "Day.", expression="CAST(pickup_datetime AS DATE)"),
    )
    days = days_of("van_trip_days", columns)
    table = Table("van_trips", columns, PARTITION_DATE, days)
    monkeypatch.setattr("taxi_shared.lake.TABLES", (*TABLES, days, table))
    vans = Service("van", "van_trips", table, "2015-01", "van", "Trips of vans.")
    pickups = [datetime(2023, 1, 5, 9), datetime(2023, 1, 4, 9), datetime(2022, 12, 31)]
    content = {
        "dispatching_base_num": ["B00009", "B00013", "B00013"],
        "pickup_datetime": pa.array(pickups, pa.timestamp("us")),
        "DOlocationID": pa.array([1.0, None, 265.0], pa.float64()),
        "SR_Flag": pa.nulls(3),
    }
    ingestion.publish_table("van", "2023-01-01", pa.table(content))
    result = ingestion.run("2023-01-01", "2023-01-01", assets=trip_assets(vans))
    assert result.success
    failed = {name for name, check in checked(result).items() if not check.passed}
    assert failed == {"every_column_described", "few_strays"}
    assert "few_unknown_zones" not in checked(result)  # pickups have no zones
    loaded = metadata(result, vans.table_asset)
    assert loaded["pickups outside the month"] == 1
    assert loaded["unknown dropoff zones"] == 2
    assert "negative totals" not in loaded
    bounds = date(2023, 1, 1), date(2023, 1, 8)
    with LakeDatabase(data_root=str(ingestion.root)).get_connection(bounds) as con:
        rows = con.execute("SELECT base, dropoff_zone_id FROM van_trips ORDER BY ALL").fetchall()
    assert rows == [("B00009", 1), ("B00013", 265), ("B00013", None)]


def query_of_read_plans() -> Callable[[ReadPlan], str]:
    """The function that makes the query of a read plan, for tests that alter it."""
    query: property = vars(ReadPlan)["query"]
    assert query.fget
    return query.fget


def described(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    evaluation = checked(result)["every_column_described"]
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    return evaluation


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def blocked_by(result: dg.ExecuteInProcessResult, name: str) -> str:
    """The description of a blocking check that has failed the run."""
    assert not result.success
    check = checked(result)[name]
    assert (check.passed, check.severity, check.blocking) == (
        False,
        dg.AssetCheckSeverity.ERROR,
        True,
    )
    return str(check.description)


def test_month_that_loses_rows_keeps_the_previous_rows(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(*MONTHS[:2])
    result = ingestion.run(*MONTHS[:2])
    assert checked(result)["rows_as_published"].passed
    ingestion.publish(MONTHS[0], rows=2)
    query = query_of_read_plans()
    monkeypatch.setattr(ReadPlan, "query", property(lambda self: f"{query(self)} LIMIT 1"))
    result = ingestion.run(*MONTHS[:2])
    reason = blocked_by(result, "rows_as_published")
    assert "taxi_trips_2023-01.parquet has 2 rows, and 1 came out of it" in reason
    assert ingestion.trips() == {MONTHS[0]: 3, MONTHS[1]: 3}


def test_unusual_month_is_loaded_with_a_warning(ingestion: Ingestion) -> None:
    ingestion.publish(MONTHS[2])
    first = checked(ingestion.run(MONTHS[2], MONTHS[2]))
    assert {name for name, check in first.items() if not check.passed} == {"few_unknown_zones"}
    february = picked_up_in(MONTHS[1], yellow("2023-02", 2))
    march = picked_up_in(MONTHS[2], yellow("2023-02", 1))
    ingestion.publish_table("yellow", MONTHS[1], pa.concat_tables([february, march]).slice(1))
    result = ingestion.run(MONTHS[1], MONTHS[1])
    assert result.success
    found = {name: check for name, check in checked(result).items() if not check.passed}
    assert found["few_strays"].description == (
        "2023-02 has 1 of 2 pickups outside the month, more than 0.1%"
    )
    assert {check.severity for check in found.values()} == {dg.AssetCheckSeverity.WARN}

    # Another month is loaded: the warning about February stays.
    last = checked(ingestion.run(MONTHS[2], MONTHS[2]))
    assert last["few_strays"].description == found["few_strays"].description


def test_failed_month_fails_the_check_of_its_rows(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS[:2])
    ingestion.publisher.files[f"/trip-data/yellow_tripdata_{MONTHS[1][:7]}.parquet"] = b"<html>"
    check = checked(ingestion.run(*MONTHS[:2]))["rows_as_published"]
    assert not check.passed
    assert str(check.description).startswith("2023-02 was not loaded: ")
    assert "<html>" in str(check.description)


def test_month_with_other_columns_than_described_is_refused(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(*MONTHS[:2])
    result = ingestion.run(MONTHS[0], MONTHS[0])
    assert checked(result)["columns_as_described"].passed
    query = query_of_read_plans()
    altered = "SELECT * REPLACE (CAST(passenger_count AS BIGINT) AS passenger_count), 1 AS one FROM"
    monkeypatch.setattr(ReadPlan, "query", property(lambda self: f"{altered} ({query(self)})"))
    result = ingestion.run(MONTHS[1], MONTHS[1])
    reason = blocked_by(result, "columns_as_described")
    assert "one is INTEGER, described as nothing" in reason
    assert "passenger_count is BIGINT, described as INTEGER" in reason
    recorded = ingestion.instance.get_materialized_partitions
    assert recorded(keys.TAXI_TRIPS_FILE) == {*MONTHS[:2]}
    assert recorded(keys.TAXI_TRIPS) == {MONTHS[0]}


def test_unknown_column_is_reported_until_it_is_described(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS[:2])
    assert described(ingestion.run(*MONTHS[:2])).passed
    surge = pa.array([1, 2, 3])
    table = picked_up_in(MONTHS[2], yellow("2023-03")).append_column("surge", surge)
    ingestion.publish_table("yellow", MONTHS[2], table)
    result = ingestion.run(MONTHS[2], MONTHS[2])
    assert result.success
    assert not described(result).passed
    assert "not loaded: 2023-03: surge" in str(described(result).description)
    assert metadata(result, keys.TAXI_TRIPS)["columns not loaded"] == ["surge"]
    for other in (MONTHS[0], "2023-04-01"):
        ingestion.publish(other)
        assert "2023-03: surge" in str(described(ingestion.run(other, other)).description)
    ingestion.publish(MONTHS[2])
    assert described(ingestion.run(MONTHS[2], MONTHS[2])).passed


def test_failed_range_reports_unknown_columns_too(ingestion: Ingestion) -> None:
    surge = pa.array([1, 2, 3])
    ingestion.publish_table("yellow", MONTHS[0], yellow("2023-01").append_column("surge", surge))
    result = ingestion.run(MONTHS[0], MONTHS[1])
    assert not result.success
    assert not described(result).passed


def test_month_with_points_and_no_zones_says_what_to_do(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .layouts import yellow_2009

    monkeypatch.setenv("TAXI_START_DATE", "2009-01-01")
    ingestion.publish_table("yellow", "2009-06-01", yellow_2009())
    result = ingestion.run("2009-06-01", "2009-06-01", assets=trip_assets(YELLOW))
    assert "materialize taxi_zones, then this month again" in failure(result)
    assert ingestion.trips() == {}


def test_location_does_not_import_heavy_packages() -> None:
    import subprocess
    import sys

    code = (
        "import ingestion.definitions, sys; "
        "print({'matplotlib', 'geopandas', 'pandas', 'shapely'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
    assert definitions.defs.resolve_job_def("trip_update_job")


def test_environment_has_no_pandas() -> None:
    from importlib.util import find_spec

    assert find_spec("pandas") is None


def test_months_of_one_run_are_fetched_concurrently(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    # Each download waits for the others: one after the other, none would ever begin to answer.
    together = threading.Barrier(len(MONTHS), timeout=20)

    def answer_together(path: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            together.wait()
            body(ingestion.publisher.files[path])(handler)

        return answer

    for path in ingestion.publisher.files:
        ingestion.publisher.misbehave[path] = [answer_together(path)]
    assert ingestion.run(MONTHS[0], MONTHS[-1]).success
    assert len(ingestion.fetches()) == len(MONTHS)


def versions(ingestion: Ingestion, asset: dg.AssetKey, month: str) -> dict[str, str]:
    """The tags of the last materialization of a month, without those of the run."""
    records = ingestion.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[month]), limit=1
    ).records
    materialization = records[0].asset_materialization
    return dict(materialization.tags or {}) if materialization else {}


def test_unchanged_month_keeps_its_data_version(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS)
    assert ingestion.run(MONTHS[0], MONTHS[-1]).success
    january, february = (versions(ingestion, keys.TAXI_TRIPS, m)[DATA_VERSION] for m in MONTHS[:2])
    assert january != february
    assert ingestion.run(MONTHS[0], MONTHS[0]).success
    assert versions(ingestion, keys.TAXI_TRIPS, MONTHS[0])[DATA_VERSION] == january
    ingestion.publish(MONTHS[0], rows=2)
    assert ingestion.run(MONTHS[0], MONTHS[0]).success
    assert versions(ingestion, keys.TAXI_TRIPS, MONTHS[0])[DATA_VERSION] != january


def test_month_records_the_versions_of_its_file_and_code(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS[:2])
    assert ingestion.run(*MONTHS[:2]).success
    of_file = versions(ingestion, keys.TAXI_TRIPS_FILE, MONTHS[0])
    of_trips = versions(ingestion, keys.TAXI_TRIPS, MONTHS[0])
    assert of_trips["dagster/input_data_version/taxi_trips_file"] == of_file[DATA_VERSION]
    assert of_trips["dagster/code_version"] == yellow_trips.code_versions_by_key[keys.TAXI_TRIPS]


def test_first_rows_of_a_month_are_shown(ingestion: Ingestion) -> None:
    ingestion.publish(*MONTHS[:1])
    result = ingestion.run(MONTHS[0], MONTHS[0])
    shown = metadata(result, keys.TAXI_TRIPS)["first rows"]
    assert shown.startswith("| vendor_id | pickup_datetime |")
    assert len(shown.splitlines()) == 2 + 3


def test_every_asset_has_a_code_version() -> None:
    graph = definitions.defs.resolve_asset_graph()
    assert all(graph.get(key).code_version for key in graph.materializable_asset_keys)
