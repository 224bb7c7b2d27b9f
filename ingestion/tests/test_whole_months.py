"""A month becomes visible as a whole or not at all; an implausible file keeps the old rows."""

import threading
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from upath import UPath

from ingestion.defs.trip_report import TripReport
from ingestion.lib import quality, services
from ingestion.lib.download import SourceMetadata
from ingestion.lib.months import MonthResult
from taxi_shared import keys, provenance
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake, Replacement
from taxi_shared.partitions import monthly
from taxi_shared.services import YELLOW
from taxi_shared.tables import TRIP_DAYS, TRIPS, Table
from taxi_shared.versions import DATA_VERSION
from taxi_testing.lakes import end_before_commit

from .conftest import Publisher, body
from .layouts import yellow
from .test_trips import MONTHS, Ingestion, blocked_by, checked, failure, picked_up_in

JANUARY, FEBRUARY, MARCH = MONTHS
SECONDS = 20


@pytest.fixture
def ingestion(publisher: Publisher, tmp_path: Path, instance: dg.DagsterInstance) -> Ingestion:
    return Ingestion(publisher, tmp_path, instance)


def lake(ingestion: Ingestion) -> Lake:
    return LakeDatabase(data_root=str(ingestion.root)).lake


def both_tables(ingestion: Ingestion) -> tuple[dict[str, int], dict[str, int]]:
    """The trips of each month, and those that its days count."""
    with LakeDatabase(data_root=str(ingestion.root)).get_connection() as con:
        counts = [
            con.execute(f"SELECT partition_date, {count} FROM {table} GROUP BY ALL").fetchall()
            for table, count in (("trips", "count(*)"), ("trip_days", "sum(num_trips)"))
        ]
    trips, days = ({str(day): int(n) for day, n in found} for found in counts)
    return trips, days


def refusal(result: dg.ExecuteInProcessResult) -> str:
    """What the blocking check of plausible months says."""
    return blocked_by(result, "plausible_months")


def publish_without_trips(ingestion: Ingestion) -> None:
    ingestion.publish_table("yellow", JANUARY, yellow("2023-01", 0))


def test_empty_month_keeps_previous_rows(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    assert checked(ingestion.run(JANUARY, JANUARY))["plausible_months"].passed
    publish_without_trips(ingestion)
    found = refusal(ingestion.run(JANUARY, JANUARY))
    assert (
        "the file of 2023-01 has 0 rows, the month in the lake has 3; expected at least 2" in found
    )
    assert '{ops: {taxi_trips: {config: {accept_months: ["2023-01"]}}}}' in found
    assert both_tables(ingestion) == ({JANUARY: 3}, {JANUARY: 3})
    recorded = ingestion.instance.fetch_materializations
    assert len(recorded(keys.TAXI_TRIPS_FILE, limit=9).records) == 2
    assert len(recorded(keys.TAXI_TRIPS, limit=9).records) == 1


def test_accepted_month_is_not_refused_again(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    publish_without_trips(ingestion)
    assert ingestion.run(JANUARY, JANUARY, accept_months=["2023-01"]).success
    assert both_tables(ingestion) == ({}, {})
    assert lake(ingestion).snapshot().versions(TRIPS).keys() == {JANUARY}
    path_of(ingestion, TRIP_DAYS).unlink()  # so that the month is written again
    assert ingestion.run(JANUARY, JANUARY).success
    assert lake(ingestion).snapshot().versions(TRIP_DAYS).keys() == {JANUARY}


def test_only_months_of_the_run_can_be_accepted(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    result = ingestion.run(JANUARY, JANUARY, accept_months=["2023-1"])
    assert "accept_months has 2023-1; expected months of this run: 2023-01" in failure(result)


def test_first_load_without_trips_is_refused(ingestion: Ingestion) -> None:
    ingestion.publish(FEBRUARY)
    publish_without_trips(ingestion)
    found = refusal(ingestion.run(JANUARY, FEBRUARY))
    assert "the file of 2023-01 has 0 rows" in found
    assert ingestion.trips() == {FEBRUARY: 3}


def test_file_of_another_month_is_refused(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    ingestion.publish_table("yellow", JANUARY, picked_up_in(FEBRUARY, yellow("2023-01")))
    found = refusal(ingestion.run(JANUARY, JANUARY))
    assert "3 of the 3 pickups in the file of 2023-01 are outside the month" in found
    with LakeDatabase(data_root=str(ingestion.root)).get_connection() as con:
        assert con.execute("SELECT DISTINCT pickup_date FROM trips").fetchall() == [
            (date(2023, 1, 5),)
        ]


def test_month_without_totals_fails_a_check_and_is_loaded(ingestion: Ingestion) -> None:
    table = picked_up_in(JANUARY, yellow("2023-01"))
    index = table.column_names.index("total_amount")
    table = table.set_column(index, "total_amount", pa.nulls(3, pa.float64()))
    ingestion.publish_table("yellow", JANUARY, table)
    result = ingestion.run(JANUARY, JANUARY)
    assert result.success
    check = checked(result)["totals_known"]
    assert (check.passed, check.severity, check.blocking) == (
        False,
        dg.AssetCheckSeverity.ERROR,
        False,
    )
    assert str(check.description).startswith("2023-01 has 3 of 3 trips without a total amount")


def test_failed_days_keep_previous_trips_and_days(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    ingestion.publish(JANUARY, rows=2)

    def fail(*arguments: object) -> None:
        raise duckdb.ConversionException("Conversion Error: Date out of range")

    with monkeypatch.context() as patch:
        patch.setattr(quality, "day_counts", fail)
        result = ingestion.run(JANUARY, JANUARY)
    assert "Date out of range" in failure(result)
    assert both_tables(ingestion) == ({JANUARY: 3}, {JANUARY: 3})
    assert len(list((ingestion.root / "staging" / "trips").rglob("*.parquet"))) == 1
    assert ingestion.run(JANUARY, JANUARY).success
    assert both_tables(ingestion) == ({JANUARY: 2}, {JANUARY: 2})


def test_load_that_ends_between_its_commits_is_repaired(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    ingestion.publish(JANUARY, rows=2)
    with end_before_commit(monkeypatch, TRIPS):
        assert not ingestion.run(JANUARY, JANUARY).success
    assert both_tables(ingestion) == ({JANUARY: 3}, {JANUARY: 3})
    assert ingestion.run(JANUARY, JANUARY).success
    assert both_tables(ingestion) == ({JANUARY: 2}, {JANUARY: 2})


def test_file_damaged_on_disk_is_fetched_again(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY, selection=[keys.TAXI_TRIPS_FILE]).success
    raw = ingestion.root / "raw" / "taxi_trips_2023-01.parquet"
    good = raw.read_bytes()
    raw.write_bytes(b"PAR1" + bytes(len(good) - 8) + b"PAR1")
    result = ingestion.run(JANUARY, JANUARY)
    assert f"{raw} " in failure(result)
    assert "damaged" in failure(result)
    assert "it is fetched again at the next load" in failure(result)
    assert SourceMetadata.load_verified(UPath(raw)) is None
    assert ingestion.run(JANUARY, JANUARY).success
    assert raw.read_bytes() == good
    assert ingestion.fetches() == ["2023-01", "2023-01", "2023-01"]


@pytest.mark.parametrize(("table", "damage"), [(TRIPS, slice(4, 200)), (TRIP_DAYS, slice(0))])
def test_damaged_lake_file_is_written_again(
    ingestion: Ingestion, table: Table, damage: slice
) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    file = path_of(ingestion, table)
    good = file.read_bytes()
    bad = bytearray(good)
    bad[damage] = bytes(len(good[damage]))
    file.write_bytes(bytes(bad) if damage.start else b"")
    assert ingestion.run(JANUARY, JANUARY).success
    assert path_of(ingestion, table).read_bytes() == good


def test_damaged_zones_do_not_stop_months_with_zones(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    zones = lake(ingestion).root.staging / "zones" / "zones.parquet"
    zones.parent.mkdir(parents=True)
    zones.write_bytes(b"PAR1")
    result = ingestion.run(JANUARY, JANUARY)
    assert f"{zones} is damaged" in failure(result)  # once the month is in place
    assert ingestion.instance.get_materialized_partitions(keys.TAXI_TRIPS) == {JANUARY}


def test_full_disk_names_the_folder(ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch) -> None:
    ingestion.publish(JANUARY)

    def write(new: Replacement, con: duckdb.DuckDBPyConnection, table: object, *_: object) -> int:
        text = f'IO Error: Could not write file "{new.file(TRIPS)}": No space left on device'
        raise duckdb.IOException(text)

    monkeypatch.setattr(Replacement, "write", write)
    folder = lake(ingestion).root.staging / "trips" / f"partition_date={JANUARY}"
    text = failure(ingestion.run(JANUARY, JANUARY))
    assert f"2023-01 was not loaded: no space left on {folder}" in text


def test_month_is_rolled_back_by_a_run(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    first = ingestion.run(JANUARY, JANUARY)
    ingestion.publish(JANUARY, rows=2)
    ingestion.run(JANUARY, JANUARY)
    (ingestion.root / "raw" / "taxi_trips_2023-01.parquet").unlink()  # no file is needed
    result = ingestion.run(JANUARY, JANUARY, roll_back_to=1)
    assert result.success
    assert both_tables(ingestion) == ({JANUARY: 3}, {JANUARY: 3})
    assert len(ingestion.fetches()) == 2
    (event,) = result.get_asset_materialization_events()  # of the table alone
    (original,) = (
        each
        for each in first.get_asset_materialization_events()
        if each.asset_key == keys.TAXI_TRIPS
    )
    assert event.materialization.metadata["version"].value == 3
    versions = [(each.materialization.tags or {})[DATA_VERSION] for each in (event, original)]
    assert versions[0] == versions[1]
    newest, *_ = lake(ingestion).history(TRIPS)
    assert newest.details == {"month": "2023-01", "rolled back to": "1", "run": result.run_id}
    unknown = ingestion.run(JANUARY, JANUARY, roll_back_to=9)
    assert "staging/trips has no version 9" in failure(unknown)


def path_of(ingestion: Ingestion, table: Table) -> UPath:
    """The path of January's file."""
    return lake(ingestion).snapshot().files(table)[JANUARY].path


def months_in_progress(instance: dg.DagsterInstance) -> bool:
    """Whether an asset over all months of trips finds one in progress, as analytics' assets do."""

    @dg.asset(
        deps=[dg.AssetDep(keys.TAXI_TRIPS, partition_mapping=dg.AllPartitionMapping())],
        automation_condition=dg.AutomationCondition.any_deps_in_progress(),
    )
    def after() -> None: ...

    defs = dg.Definitions([dg.AssetSpec(keys.TAXI_TRIPS, partitions_def=monthly()), after])
    return dg.evaluate_automation_conditions(defs, instance).total_requested > 0


def test_months_are_recorded_while_the_range_is_loading(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(*MONTHS)
    path = f"/trip-data/yellow_tripdata_{MARCH[:7]}.parquet"
    seen: list[tuple[set[str], bool]] = []
    recorded = threading.Semaphore(0)
    record = TripReport.record

    def record_and_count(
        report: TripReport, con: duckdb.DuckDBPyConnection, month: MonthResult
    ) -> None:
        record(report, con, month)
        recorded.release()

    monkeypatch.setattr(TripReport, "record", record_and_count)

    def answer_when_others_are_recorded(handler: BaseHTTPRequestHandler) -> None:
        """Send the last month after those before it were recorded."""
        for _ in range(2):
            assert recorded.acquire(timeout=SECONDS)
        found = ingestion.instance.get_materialized_partitions(keys.TAXI_TRIPS)
        seen.append((found, months_in_progress(ingestion.instance)))
        body(ingestion.publisher.files[path])(handler)

    ingestion.publisher.misbehave[path] = [answer_when_others_are_recorded]
    assert ingestion.run(JANUARY, MARCH).success
    assert seen == [({JANUARY, FEBRUARY}, True)]
    assert ingestion.instance.get_materialized_partitions(keys.TAXI_TRIPS) == {*MONTHS}
    assert not months_in_progress(ingestion.instance)


def test_run_that_ends_early_has_recorded_its_months(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.publish(*MONTHS)

    def end(database: LakeDatabase) -> None:
        raise MemoryError

    monkeypatch.setattr(LakeDatabase, "publish", end)
    assert not ingestion.run(JANUARY, MARCH).success
    for asset in (keys.TAXI_TRIPS_FILE, keys.TAXI_TRIPS):
        assert ingestion.instance.get_materialized_partitions(asset) == {*MONTHS}


def sources(ingestion: Ingestion) -> tuple[list[str], list[str]]:
    """The publishers that the lake names for trips and for days."""
    with duckdb.connect() as con:
        of = lake(ingestion).snapshot().publishers
        return of(con, TRIPS), of(con, TRIP_DAYS)


def test_lake_names_the_publisher_of_each_month(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    result = ingestion.run(JANUARY, JANUARY)
    shown = {
        event.materialization.metadata["source"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == keys.TAXI_TRIPS
    }
    copy = f"{provenance.TLC}, as copied to 127.0.0.1"
    assert shown == {copy}
    assert sources(ingestion) == ([copy], [copy])


def test_synthetic_trips_are_named_as_such(ingestion: Ingestion) -> None:
    table = picked_up_in(JANUARY, yellow("2023-01"))
    table = table.replace_schema_metadata({"synthetic": "invented trips"})
    ingestion.publish_table("yellow", JANUARY, table)
    assert ingestion.run(JANUARY, JANUARY).success
    assert sources(ingestion) == ([provenance.SYNTHETIC], [provenance.SYNTHETIC])


def test_month_from_another_publisher_is_written_again(ingestion: Ingestion) -> None:
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    raw = services.raw_file(YELLOW, lake(ingestion).root, JANUARY)
    metadata = raw.with_name(f"{raw.name}.source.json")
    written = metadata.read_text()
    fetched = SourceMetadata.load(raw)
    assert fetched
    address = f"https://{provenance.TLC_HOSTS[0]}/trip-data/yellow_tripdata_2023-01.parquet"
    metadata.write_text(written.replace(fetched.address, address))
    assert ingestion.run(JANUARY, JANUARY, selection=[keys.TAXI_TRIPS]).success
    assert sources(ingestion) == ([provenance.TLC], [provenance.TLC])


def test_month_loads_below_a_folder_named_like_a_partition(
    publisher: Publisher, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    ingestion = Ingestion(publisher, tmp_path / "VendorID=7" / "a [1] b?", instance)
    ingestion.publish(JANUARY)
    assert ingestion.run(JANUARY, JANUARY).success
    assert both_tables(ingestion) == ({JANUARY: 3}, {JANUARY: 3})
    with LakeDatabase(data_root=str(ingestion.root)).get_connection() as con:
        found = con.execute("SELECT vendor_id FROM trips ORDER BY ALL").fetchall()
    assert found == [(1,), (2,), (2,)]
