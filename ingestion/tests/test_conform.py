"""Every physical type that TLC has used is read as the same canonical columns."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.lib import conform
from ingestion.lib.parquet_schema import DamagedFile, LayoutError, read_schema
from taxi_shared.tables import TRIPS

from .layouts import DROPOFF, PICKUP, canonical, parquet, without_derived, yellow

MONTHS = ["2011-01", "2018-06", "2018-07", "2019-01", "2020-11", "2023-01", "2023-02", "2025-01"]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def read(
    con: duckdb.DuckDBPyConnection, path: Path, content: pa.Table, month: str
) -> list[dict[str, object]]:
    path.write_bytes(parquet(content))
    plan = conform.plan_read(con, TRIPS, str(path), month)
    rows: list[dict[str, object]] = (
        con.execute(plan.query, {"file": str(path)}).to_arrow_table().to_pylist()
    )
    return rows


@pytest.mark.parametrize("null_types", [True, False])
@pytest.mark.parametrize("month", [*MONTHS, "2026-06"])
def test_month_of_any_layout_is_read_value_by_value(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, month: str, null_types: bool
) -> None:
    source = yellow(month, null_types=null_types)
    rows = read(con, tmp_path / "file.parquet", source, month)
    assert without_derived(rows, TRIPS) == canonical(source, TRIPS)
    assert [r["vendor_id"] for r in rows] == [2, 1, 2]
    assert [r["passenger_count"] for r in rows] == [1, 0, None]
    assert [r["rate_code_id"] for r in rows] == [1, 99, None]
    assert [r["store_and_fwd_flag"] for r in rows] == ["N", "Y", None]
    assert [r["pickup_zone_id"] for r in rows] == [237, 265, 132]
    assert [r["dropoff_zone_id"] for r in rows] == [141, 264, 1]
    assert {r["pickup_datetime"] for r in rows} == {PICKUP}
    assert {r["dropoff_datetime"] for r in rows} == {DROPOFF}
    assert [r["tip_amount"] for r in rows] == [Decimal("2.36"), 0, 0]
    expected_source = ["street", "app", None] if month >= "2026-06" else [None] * 3
    assert [r["request_source"] for r in rows] == expected_source


def test_derived_columns_follow_from_the_time_of_pickup(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    row = read(con, tmp_path / "file.parquet", yellow("2023-03"), "2023-03")[0]
    assert (row["pickup_date"], row["pickup_hour"]) == (date(2023, 3, 5), 23)
    assert (row["pickup_weekday"], row["week_start"]) == (0, date(2023, 3, 5))  # a Sunday


def test_columns_have_the_declared_names_and_types(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(parquet(yellow("2023-03")))
    query = conform.plan_read(con, TRIPS, str(path), "2023-03").query
    described = con.execute(f"DESCRIBE {query}", {"file": str(path)}).fetchall()
    assert [(name, kind) for name, kind, *_ in described] == [
        (column.name, column.type) for column in TRIPS.columns
    ]


def test_rows_are_in_the_order_of_the_file(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    table = yellow("2023-03")
    times = pa.array([DROPOFF, PICKUP, PICKUP], pa.timestamp("us"))
    table = table.set_column(1, "tpep_pickup_datetime", times)
    rows = read(con, tmp_path / "file.parquet", table, "2023-03")
    assert [r["vendor_id"] for r in rows] == [2, 1, 2]
    assert [r["payment_type"] for r in rows] == [1, 2, 0]


def test_unknown_column_does_not_stop_the_load(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(parquet(yellow("2023-03").append_column("surge", pa.array([1, 2, 3]))))
    plan = conform.plan_read(con, TRIPS, str(path), "2023-03")
    assert plan.unknown_columns == ("surge",)


def test_missing_column_is_named_with_expected_and_found(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    with pytest.raises(LayoutError) as raised:
        read(
            con, tmp_path / "f.parquet", yellow("2023-03").drop_columns(["PULocationID"]), "2023-03"
        )
    for part in ("f.parquet", "pickup_zone_id", "PULocationID", "tpep_pickup_datetime"):
        assert part in str(raised.value)


def test_column_of_a_wrong_type_is_named_with_expected_types(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    table = yellow("2023-03")
    index = table.column_names.index("total_amount")
    table = table.set_column(index, "total_amount", pa.array([True, False, None]))
    with pytest.raises(LayoutError, match=r"total_amount.*DOUBLE.*found BOOLEAN"):
        read(con, tmp_path / "f.parquet", table, "2023-03")


def test_value_that_does_not_fit_is_named_with_its_column(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    table = yellow("2023-03")
    index = table.column_names.index("total_amount")
    table = table.set_column(index, "total_amount", pa.array([1.0, 1e300, 2e300]))
    path.write_bytes(parquet(table))
    plan = conform.plan_read(con, TRIPS, str(path), "2023-03")
    with pytest.raises(duckdb.ConversionException):
        con.execute(plan.query, {"file": str(path)}).fetchall()
    assert str(conform.first_unreadable(con, plan)) == (
        f"{path}: column total_amount, row 2 (the first row is 1): 1e+300 does not fit "
        "total_amount DECIMAL(12,2); 2 of its values do not"
    )


def test_file_that_is_not_parquet_is_named(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DamagedFile, match=r"broken\.parquet is damaged: "):
        read_schema(con, str(path))


@pytest.mark.parametrize(
    "name",
    [
        "2018-06",
        "2018-07",
        "2019-01",
        "2019-02",
        "2019-03",
        "2022-03",
        "2025-01",
    ],
)
def test_real_files_keep_every_row_and_cent(
    con: duckdb.DuckDBPyConnection, real_files: Path, name: str
) -> None:
    path = str(real_files / "trip-data" / f"yellow_tripdata_{name}.parquet")
    query = conform.plan_read(con, TRIPS, path, name).query
    got = con.execute(
        f"SELECT count(*), sum(total_amount) FROM ({query})", {"file": path}
    ).fetchone()
    amounts = pq.read_table(path, columns=["total_amount"]).column(0).to_pylist()
    assert got == (len(amounts), sum(Decimal(str(amount)) for amount in amounts))
