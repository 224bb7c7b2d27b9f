"""Tables of the lake: a file per partition, replaced as a whole."""

from datetime import date, timedelta
from pathlib import Path
from random import Random

import duckdb
import pytest
from upath import UPath

from taxi_shared import pickup_days, provenance, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import DamagedLakeFile, Rows
from taxi_shared.tables import TABLES, TRIP_DAYS, TRIPS, ZONES, Column, Table
from taxi_testing.lakes import Month

JANUARY, FEBRUARY = "2023-01-01", "2023-02-01"


@pytest.fixture(params=["folder", "S3"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> LakeDatabase:
    """A database over an empty folder or S3."""
    if request.param == "folder":
        return LakeDatabase(data_root=str(tmp_path))
    return LakeDatabase(data_root=request.getfixturevalue("s3_root"))


def write_days(database: LakeDatabase, partition: str, *days: str) -> None:
    """Write one trip per day as the file of a month."""
    query = "SELECT UNNEST($days)::DATE AS pickup_date"
    rows = Rows(query, {"days": list(days)}, fingerprint="made by hand")
    with database.get_connection(tables=[]) as con:
        Month(partition, rows).write(con, database.lake)


def write_vendor(database: LakeDatabase, partition: str, columns: str = "1 AS vendor_id") -> None:
    """Write one trip without a time as the file of a month."""
    with database.get_connection(tables=[]) as con:
        Month(partition, Rows(f"SELECT {columns}")).write(con, database.lake)


def path_of(database: LakeDatabase, table: Table, partition: str) -> UPath:
    """The path of a month's file."""
    return database.lake.snapshot().files(table)[partition].path


def days(
    database: LakeDatabase, pickup_dates: tuple[date, date] | None = None
) -> list[tuple[str, str]]:
    """The partition and the pickup date of each trip."""
    with database.get_connection(pickup_dates) as con:
        rows = con.execute("SELECT partition_date, pickup_date FROM trips ORDER BY ALL").fetchall()
    return [(str(partition), str(day)) for partition, day in rows]


def test_empty_lake_has_every_table_with_its_columns(database: LakeDatabase) -> None:
    with database.get_connection() as con:
        for table in TABLES:
            described = con.execute(f"DESCRIBE {table.name}").fetchall()
            assert [(name, kind) for name, kind, *_ in described] == [
                (column.name, column.type) for column in table.all_columns
            ]


def test_writing_a_partition_again_replaces_it(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05", "2023-01-06")
    write_days(database, FEBRUARY, "2023-02-05")
    write_days(database, JANUARY, "2023-01-07")
    assert days(database) == [(JANUARY, "2023-01-07"), (FEBRUARY, "2023-02-05")]


def test_stray_trip_is_found_without_opening_other_files(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05")
    write_days(database, FEBRUARY, "2023-01-31", "2023-02-05")
    write_days(database, "2023-03-01", "2023-03-05")
    # The file of March is damaged: opening it fails.
    path_of(database, TRIPS, "2023-03-01").write_bytes(b"PAR1")
    found = days(database, (date(2023, 1, 29), date(2023, 2, 5)))
    assert found == [(FEBRUARY, "2023-01-31"), (FEBRUARY, "2023-02-05")]
    with pytest.raises(duckdb.Error):
        days(database)
    with database.get_connection(tables=[TRIP_DAYS]) as con:
        assert con.execute("SELECT count(*) FROM trip_days").fetchall() == [(4,)]


def test_counts_of_a_week_are_those_of_its_months_and_strays(database: LakeDatabase) -> None:
    write_days(database, "2022-12-01", "2022-12-05")
    write_days(database, JANUARY, "2023-01-05")  # none on the days that are asked for
    write_days(database, FEBRUARY, "2023-01-31", "2023-02-05")
    lake, asked = database.lake.snapshot(), (date(2023, 1, 29), date(2023, 2, 1))
    query = "SELECT DISTINCT partition_date::VARCHAR FROM trip_days ORDER BY ALL"
    with database.get_connection(asked, [TRIP_DAYS], snapshot=lake) as con:
        assert con.execute(query).fetchall() == [(JANUARY,), (FEBRUARY,)]
    # The same snapshot reads the counts of other months no more.
    path_of(database, TRIP_DAYS, "2022-12-01").write_bytes(b"PAR1")
    with database.get_connection(asked, [TRIPS, TRIP_DAYS], snapshot=lake) as con:
        assert con.execute(query).fetchall() == [(JANUARY,), (FEBRUARY,)]


def test_index_of_pickup_days_saves_reading_the_counts(database: LakeDatabase) -> None:
    asked = date(2023, 1, 29), date(2023, 2, 5)
    days_of = {"2022-12-01": ["2022-12-05"], JANUARY: ["2023-01-05", "2023-01-31"]}
    for partition, pickups in days_of.items():
        write_days(database, partition, *pickups, "9999-12-31")
    database.publish()
    path_of(database, TRIP_DAYS, "2022-12-01").write_bytes(b"PAR1")
    found = [(JANUARY, "2023-01-05"), (JANUARY, "2023-01-31"), (JANUARY, "9999-12-31")]
    assert days(database, asked) == found
    # A month of a run that has not ended is not in the index yet.
    write_days(database, "2023-03-01", "2023-02-03")
    assert days(database, asked) == [*found, ("2023-03-01", "2023-02-03")]
    index = database.lake.snapshot().folder(TRIP_DAYS) / pickup_days.NAME
    database.lake.vacuum(timedelta(0))
    assert index.exists()
    storage.write_bytes(index, storage.read_bytes(index)[:-9])
    with pytest.raises(DamagedLakeFile, match="2022-12-01"):
        days(database, asked)


def test_index_has_the_days_that_the_files_have(database: LakeDatabase) -> None:
    random = Random(0)
    first = date(2022, 11, 1)
    pickups = {
        partition: {first + timedelta(days=random.randrange(100)) for _ in range(40)}
        for partition in ("2022-12-01", JANUARY, FEBRUARY)
    }
    for partition, dates in pickups.items():
        write_days(database, partition, *map(str, dates))
    database.publish()
    for number in range(-1, 101):
        day = first + timedelta(days=number)
        asked = day, day + timedelta(days=1)
        with database.get_connection(tables=[]) as con:
            files = database.lake.snapshot().files_on(con, TRIPS, asked)
        expected = [partition for partition, dates in pickups.items() if day in dates]
        assert [file.partition for file in files] == expected


def test_failed_write_keeps_the_partition(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05")
    file = path_of(database, TRIPS, JANUARY)
    with pytest.raises(duckdb.Error):
        write_vendor(database, JANUARY, "CAST('x' AS DATE) AS pickup_date")
    assert days(database) == [(JANUARY, "2023-01-05")]
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("partitions", [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_file_without_a_new_column_is_read_with_nulls(
    database: LakeDatabase, partitions: tuple[str, str]
) -> None:
    earlier, later = partitions
    write_vendor(database, earlier)
    write_vendor(database, later, "'app' AS request_source, 2 AS vendor_id, 3 AS of_no_table")
    published = database.publish()
    everything = "SELECT * EXCLUDE partition_date FROM trips ORDER BY vendor_id"
    with database.get_connection() as con:
        assert con.execute(everything).fetchall() == [(1, None), (2, "app")]
        with pytest.raises(duckdb.BinderException, match="tip_amount"):
            con.execute("SELECT tip_amount FROM trips")
    with duckdb.connect() as con:
        database.lake.root.attach(con)
        con.execute(f"ATTACH '{published}' AS published (READ_ONLY); USE published")
        assert con.execute(everything).fetchall() == [(1, None), (2, "app")]


def test_fingerprint_stays_with_its_file(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05")
    lake = database.lake.snapshot()
    with database.get_connection() as con:
        assert lake.fingerprint(con, TRIPS, JANUARY) == "made by hand"
        assert lake.fingerprint(con, TRIPS, FEBRUARY) == ""


def test_damaged_file_has_no_fingerprint_and_no_rows(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    write_days(database, JANUARY, "2023-01-05")
    path_of(database, TRIPS, JANUARY).write_bytes(b"PAR1")
    lake = database.lake.snapshot()
    with database.get_connection(tables=[]) as con:
        assert lake.fingerprint(con, TRIPS, JANUARY) == ""
        assert lake.rows(con, TRIPS, JANUARY) is None
        assert lake.rows(con, TRIP_DAYS, JANUARY) == 1


def test_view_over_a_damaged_file_names_it(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    write_days(database, JANUARY, "2023-01-05")
    write_days(database, FEBRUARY, "2023-02-05")
    path_of(database, TRIPS, FEBRUARY).write_bytes(b"PAR1")
    named = r"2023-02-01/trips-\w+.parquet is damaged .* materialize it again"
    with pytest.raises(DamagedLakeFile, match=named), database.get_connection():
        pass


def test_published_file_has_views_of_existing_tables(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05")
    path = database.publish()
    with duckdb.connect() as con:
        database.lake.root.attach(con)
        con.execute(f"ATTACH '{path}' AS published (READ_ONLY); USE published")
        assert con.execute("SELECT count(*) FROM trips").fetchone() == (1,)
        views = {name for (name,) in con.execute("SHOW TABLES").fetchall()}
    assert views == {"trips", "trip_days"}


def test_published_file_may_be_outside_the_data_root(
    database: LakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(database, JANUARY, "2023-01-05")
    monkeypatch.setenv("DUCKDB_DATABASE", str(tmp_path / "for people.duckdb"))
    with duckdb.connect(str(database.publish()), read_only=True) as con:
        database.lake.root.attach(con)
        assert con.execute("SELECT count(*) FROM trips").fetchone() == (1,)
    assert (tmp_path / "for people.duckdb").is_file()


def replace_with_two_days(database: LakeDatabase, error: str = "") -> None:
    """Replace January by two trips on two days, or raise ValueError with a text before the end."""
    trips = "SELECT UNNEST(['2023-01-06', '2023-01-07'])::DATE AS pickup_date"
    with (
        database.get_connection() as con,
        database.lake.replacement([TRIPS, TRIP_DAYS], JANUARY) as new,
    ):
        assert new.write(con, TRIPS, Rows(trips)) == 2
        assert new.write(con, TRIP_DAYS, Rows(f"SELECT *, 1 AS num_trips FROM ({trips})")) == 2
        assert rows_of_tables(database) == [1, 1]
        if error:
            raise ValueError(error)


def rows_of_tables(database: LakeDatabase) -> list[int]:
    """The number of trips, and of their days."""
    with database.get_connection() as con:
        query = "SELECT (SELECT count(*) FROM trips), (SELECT count(*) FROM trip_days)"
        ((trips, trip_days),) = con.execute(query).fetchall()
    return [trips, trip_days]


def test_tables_of_a_partition_appear_together(database: LakeDatabase) -> None:
    write_days(database, JANUARY, "2023-01-05")
    with pytest.raises(ValueError, match="refused"):
        replace_with_two_days(database, "refused")
    assert rows_of_tables(database) == [1, 1]
    replace_with_two_days(database)
    assert rows_of_tables(database) == [2, 2]
    for table in (TRIPS, TRIP_DAYS):
        # Readers may still have the file that was replaced; that of the failed load is gone.
        assert len(list(path_of(database, table, JANUARY).parent.iterdir())) == 2


# Folders that DuckDB takes for patterns or for partitions; S3 refuses some of the former.
FOLDERS = [
    'o\'hare "x"',
    "a [1] b",
    "what?",
    "a*b",
    "a=b",
    "VendorID=7",
    "vendor_id=7",
    "partition_date=2001-01-01",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_data_root_in_any_folder_keeps_its_columns(tmp_path: Path, folder: str) -> None:
    database = LakeDatabase(data_root=str(tmp_path / folder / "data"))
    columns = "2 AS vendor_id, DATE '2023-01-05' AS pickup_date"
    for month in (JANUARY, FEBRUARY):
        write_vendor(database, month, columns)
    expected = [(2, date(2023, 1, 5), date(2023, month, 1)) for month in (1, 2)]
    everything = "SELECT * FROM trips ORDER BY partition_date"
    with database.get_connection() as con:
        assert con.execute(everything).fetchall() == expected
    with duckdb.connect(str(database.publish()), read_only=True) as con:
        assert con.execute(everything).fetchall() == expected
        write_vendor(database, "2023-03-01", columns)
        assert con.execute(everything).fetchall() == expected  # the files of when it was published


def test_root_on_s3_keeps_its_columns(s3_root: str) -> None:
    database = LakeDatabase(data_root=f"{s3_root}/vendor_id=7/partition_date=2001-01-01")
    write_vendor(database, JANUARY, "2 AS vendor_id")
    with database.get_connection(tables=[TRIPS]) as con:
        assert con.execute("FROM trips").fetchall() == [(2, date(2023, 1, 1))]


def test_filter_on_partition_opens_no_other_files(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    for month in (JANUARY, FEBRUARY, "2023-03-01"):
        write_vendor(database, month)
    with database.get_connection(tables=[TRIPS]) as con:
        for condition, files in (
            ("partition_date = DATE '2023-02-01'", 1),
            ("partition_date >= DATE '2023-02-01'", 2),
            ("list_contains([DATE '2023-02-01'], partition_date)", 1),
        ):
            query = f"EXPLAIN ANALYZE SELECT sum(vendor_id) FROM trips WHERE {condition}"
            assert f"Scanning Files: {files}/3" in con.execute(query).fetchall()[0][1]


def test_every_column_has_a_description_and_one_name() -> None:
    for table in TABLES:
        names = [column.name for column in table.all_columns]
        assert len(names) == len(set(names))
        assert all(column.description.endswith(".") for column in table.all_columns)
    assert ZONES.dagster_schema().columns[0].name == "zone_id"


def test_column_is_required_in_its_months_only() -> None:
    fee = Column("fee", "DOUBLE", "A fee.", ("fee",), first="2011-01", last="2018-12")
    months = ("2010-12", "2011-01", "2018-12", "2019-01")
    assert [fee.is_published_in(month) for month in months] == [False, True, True, False]


def test_version_changes_with_the_file_only(database: LakeDatabase) -> None:
    assert database.lake.snapshot().versions(TRIP_DAYS) == {}
    write_days(database, JANUARY, "2023-01-05")
    write_days(database, FEBRUARY, "2023-02-05")
    before = database.lake.snapshot().versions(TRIP_DAYS)
    assert before.keys() == {JANUARY, FEBRUARY}
    write_days(database, FEBRUARY, "2023-02-06")
    after = database.lake.snapshot().versions(TRIP_DAYS)
    assert after[JANUARY] == before[JANUARY]
    assert after[FEBRUARY] != before[FEBRUARY]


def test_publishers_are_those_of_the_partitions(database: LakeDatabase) -> None:
    with database.get_connection() as con:
        for month, publisher in ((JANUARY, "TLC"), (FEBRUARY, "a mirror"), ("2023-03-01", "")):
            rows = Rows("SELECT DATE '2023-01-01' AS pickup_date", publisher=publisher)
            Month(month, rows).write(con, database.lake)
        lake = database.lake.snapshot()
        assert lake.publishers(con, TRIP_DAYS, [JANUARY]) == ["TLC"]
        assert lake.publishers(con, TRIP_DAYS, ["2023-04-01"]) == []
        assert lake.publishers(con, TRIP_DAYS) == ["TLC", "a mirror", provenance.UNKNOWN]
