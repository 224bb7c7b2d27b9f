"""Tables of services over the lake: their SQL, and the manifests of Redshift."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from taxi_shared.engines.external_tables import (
    MANIFESTS,
    SERVICES,
    add_partitions,
    main,
    manifests_stayed,
    write_manifests,
)
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot, literal
from taxi_shared.tables import TABLES, TRIP_DAYS, TRIPS, ZONES, Table
from taxi_testing.questions import write_lake, write_month

BUCKET = "s3://bucket/prefix"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(DataRoot.at(str(tmp_path)))
    write_lake(found)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_has_its_folder(service: str) -> None:
    sql = "\n".join(SERVICES[service](f"{BUCKET}/"))
    for table in TABLES:
        assert len(re.findall(rf"TABLE .*\b{table.name}\b", sql)) == 1
        assert len(re.findall(rf"/?staging/{table.name}['/]", sql)) == 1
    assert "prefix//staging" not in sql


@pytest.mark.parametrize("address", ["/data", "bucket", "s3://", "s3://b/a b", "s3://b/'; DROP"])
@pytest.mark.parametrize("service", SERVICES)
def test_address_outside_clouds_is_refused(service: str, address: str) -> None:
    with pytest.raises(ValueError, match="expected s3://bucket/prefix"):
        SERVICES[service](address)


def test_quote_in_an_address_is_escaped() -> None:
    assert "'s3://bucket/o''hare/staging/zones/'" in SERVICES["athena"]("s3://bucket/o'hare")[-1]


def test_command_prints_statements(capsys: pytest.CaptureFixture[str]) -> None:
    main(["athena", BUCKET])
    printed = capsys.readouterr().out
    assert (
        "CREATE EXTERNAL TABLE taxi.trips\n"
        "LOCATION 's3://bucket/prefix/staging/trips/'\n"
        "TBLPROPERTIES ('table_type' = 'DELTA');"
    ) in printed
    assert printed.count(";") == 1 + len(TABLES)


def test_command_explains_itself() -> None:
    command = [sys.executable, "-m", "taxi_shared.engines.external_tables"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "Print the SQL that creates a service's tables over the lake." in shown.stdout
    refused = subprocess.run(
        [*command, "athena", "/data"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "'/data' is not cloud storage; expected s3://bucket/prefix" in refused.stderr


@pytest.mark.parametrize("service", ["athena", "redshift"])
def test_service_of_aws_refuses_another_store(service: str) -> None:
    with pytest.raises(
        ValueError, match=r"'gs://taxis' is not on S3, .*expected s3://bucket/prefix"
    ):
        SERVICES[service]("gs://taxis")


def test_redshift_has_the_columns_and_types_of_the_lake() -> None:
    sql = "\n".join(SERVICES["redshift"](BUCKET))
    assert "    pickup_datetime TIMESTAMP,\n" in sql
    assert "    total_amount DECIMAL(12,2),\n" in sql
    assert "    request_source VARCHAR(65535),\n" in sql
    assert "PARTITIONED BY (partition_date DATE)\n" in sql
    views = [text for text in SERVICES["redshift"](BUCKET) if "VIEW" in text]
    assert len(views) == len(TABLES)
    for view, table in zip(views, TABLES, strict=True):
        tree = sqlglot.parse_one(view, dialect="redshift").find(exp.Select)
        assert tree
        assert tree.named_selects == [column.name for column in table.all_columns]


def read_manifests(lake: Lake, table: Table) -> list[str]:
    """The files that the manifests of a table name."""
    folder = Path(str(lake.snapshot().folder(table))) / MANIFESTS
    return [line for each in sorted(folder.rglob("manifest")) for line in each.read_text().split()]


@pytest.mark.parametrize("table", [TRIPS, TRIP_DAYS, ZONES])
def test_manifests_name_the_files_of_a_snapshot(lake: Lake, table: Table) -> None:
    write_manifests(lake.snapshot(), table)
    files = lake.snapshot().files(table).values()
    assert read_manifests(lake, table) == [file.address for file in files]


def test_manifests_leave_out_replaced_files(lake: Lake) -> None:
    write_manifests(lake.snapshot(), TRIPS)
    write_month(lake, "2023-02-01", 50)
    write_manifests(lake.snapshot(), TRIPS)
    query = "SELECT count(*) FROM read_parquet($files)"
    with duckdb.connect() as con:
        files = [literal(file) for file in read_manifests(lake, TRIPS)]
        assert con.execute(query, {"files": files}).fetchall() == [(170,)]
        pattern = f"{literal(lake.snapshot().folder(TRIPS))}/*/*.parquet"
        assert con.execute(query, {"files": [pattern]}).fetchall() == [(290,)]


def test_manifests_of_other_partitions_are_removed(lake: Lake) -> None:
    before = lake.snapshot()
    assert len(before.files(TRIPS)) == 2
    write_month(lake, "2023-03-01")
    assert len(write_manifests(lake.snapshot(), TRIPS)) == 3
    written = write_manifests(before, TRIPS)
    assert len(read_manifests(lake, TRIPS)) == 2
    assert manifests_stayed(before, TRIPS, written)
    assert not manifests_stayed(lake.snapshot(), TRIPS, written)


def test_right_manifests_are_not_written_again(lake: Lake) -> None:
    written = write_manifests(lake.snapshot(), TRIPS)
    assert write_manifests(lake.snapshot(), TRIPS) == written


def test_manifests_replaced_and_put_back_have_not_stayed(lake: Lake) -> None:
    before = lake.snapshot()
    written = write_manifests(before, TRIPS)
    write_month(lake, "2023-02-01", 50)
    write_manifests(lake.snapshot(), TRIPS)
    assert not manifests_stayed(before, TRIPS, written)
    write_manifests(before, TRIPS)
    assert not manifests_stayed(before, TRIPS, written)


def test_vacuum_leaves_manifests(lake: Lake) -> None:
    write_manifests(lake.snapshot(), TRIPS)
    write_month(lake, "2023-02-01", 50)
    assert len(lake.vacuum(timedelta(0))) == 2  # the replaced trips and days
    assert len(read_manifests(lake, TRIPS)) == 2
    assert len(lake.snapshot().files(TRIPS)) == 2


def test_partitions_are_added_where_their_manifests_are(lake: Lake) -> None:
    (sql,) = add_partitions(lake.snapshot(), TRIPS)
    folder = f"{lake.snapshot().folder(TRIPS)}/{MANIFESTS}"
    assert sql == (
        "ALTER TABLE taxi_lake.trips ADD IF NOT EXISTS\n"
        f"PARTITION (partition_date = '2023-01-01') LOCATION "
        f"'{folder}/partition_date=2023-01-01/'\n"
        f"PARTITION (partition_date = '2023-02-01') LOCATION "
        f"'{folder}/partition_date=2023-02-01/'"
    )
    assert add_partitions(lake.snapshot(), ZONES) == []


def test_logs_need_the_reader_that_the_module_names(lake: Lake) -> None:
    def protocol(table: Table) -> dict[str, object]:
        log = Path(str(lake.snapshot().folder(table)), "_delta_log", f"{0:020}.json")
        actions = map(json.loads, log.read_text().splitlines())
        found: dict[str, object] = next(a["protocol"] for a in actions if "protocol" in a)
        return found

    assert protocol(TRIPS)["minReaderVersion"] == 3
    assert protocol(TRIPS)["readerFeatures"] == ["timestampNtz"]
    assert protocol(TRIP_DAYS)["minReaderVersion"] == 1
    assert protocol(ZONES)["minReaderVersion"] == 1
