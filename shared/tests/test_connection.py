"""The lake in a notebook."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

import taxi_shared
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_testing.lakes import Month


def write(address: str) -> None:
    database = LakeDatabase(data_root=address)
    with database.get_connection(tables=[]) as con:
        for month, rows in (("2023-01-01", 3), ("2023-02-01", 4)):
            trips = Rows("SELECT range::INTEGER AS vendor_id FROM range($rows)", {"rows": rows})
            Month(month, trips).write(con, database.lake)


def test_tables_of_a_folder_are_there(tmp_path: Path) -> None:
    write(str(tmp_path))
    con = taxi_shared.connect(tmp_path)
    by_month = con.sql(
        "SELECT partition_date::VARCHAR, count(*) FROM trips GROUP BY ALL ORDER BY 1"
    )
    assert by_month.fetchall() == [("2023-01-01", 3), ("2023-02-01", 4)]
    assert DeltaTable(tmp_path / "staging" / "trips").count() == 7
    assert con.sql("FROM zones").fetchall() == []


def test_tables_of_a_bucket_are_there(s3_root: str) -> None:
    write(s3_root)
    assert taxi_shared.connect(s3_root).sql("SELECT count(*) FROM trips").fetchone() == (7,)


def test_open_connection_keeps_its_moment(tmp_path: Path) -> None:
    write(str(tmp_path))
    con = taxi_shared.connect(tmp_path)
    database = LakeDatabase(data_root=str(tmp_path))
    with database.get_connection(tables=[]) as other:
        Month("2023-03-01", Rows("SELECT 1 AS vendor_id")).write(other, database.lake)
    assert con.sql("SELECT count(*) FROM trips").fetchone() == (7,)
    assert taxi_shared.connect(tmp_path).sql("SELECT count(*) FROM trips").fetchone() == (8,)


def test_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no tables; expected the platform's"):
        taxi_shared.connect(tmp_path / "typo")


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="connections"):
        taxi_shared.connections  # noqa: B018
