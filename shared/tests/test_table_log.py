"""Logs of tables: what writers and readers see of each other, and lakes from before logs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_delta
import pytest
from deltalake import DeltaTable
from upath import UPath

from taxi_shared import table_log
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake, Rows, log_of
from taxi_shared.storage import DataRoot, literal
from taxi_shared.table_log import CommitConflict, DamagedLog, LakeFile, TableLog
from taxi_shared.tables import TABLES, TRIP_DAYS, TRIPS, ZONES
from taxi_testing.lakes import Month, end_before_commit

JANUARY, FEBRUARY = "2023-01-01", "2023-02-01"
# `LAKE_STRESS=10` reads ten times as often, and kills ten times as many writers.
STRESS = int(os.environ.get("LAKE_STRESS", "1"))
READS, KILLS = 100 * STRESS, 20 * STRESS
# As release 0.2.0 wrote it: files of one name in each folder, and no logs.
LAKE_OF_0_2 = Path(__file__).parent / "lake_of_0_2"

# A month of 1,000 to 1,009 trips, all of the vendor and the amount that their number gives.
WRITER = """
import sys, time
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_testing.lakes import Month

root, seconds, count, *months = sys.argv[1:]
database = LakeDatabase(data_root=root)
trips = "SELECT $n::INTEGER AS vendor_id, DATE '2023-01-05' AS pickup_date FROM range(1000 + $n)"
print("ready", flush=True)
with database.get_connection(tables=[]) as con:
    for turn in range(int(count)):
        for month in months:
            begin = time.monotonic()
            Month(month, Rows(trips, {"n": turn % 10})).write(con, database.lake)
            time.sleep(max(0, float(seconds) - (time.monotonic() - begin)))
"""


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, or an empty prefix of S3."""
    return str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")


@contextmanager
def writer(root: str, seconds: float, count: int, *months: str) -> Iterator[subprocess.Popen[str]]:
    """A process that replaces months so many times, one each `seconds`; killed at the end."""
    words = [sys.executable, "-c", WRITER, root, str(seconds), str(count), *months]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def check_read(database: LakeDatabase) -> None:
    """Read both months with one query, and check them against each other and the days."""
    query = """
        SELECT count(*), min(vendor_id), max(vendor_id), sum(vendor_id),
            (SELECT sum(num_trips) FROM trip_days AS d WHERE d.partition_date = t.partition_date)
        FROM trips AS t GROUP BY partition_date ORDER BY partition_date"""
    with database.get_connection(tables=[TRIP_DAYS, TRIPS]) as con:
        months = con.execute(query).fetchall()
    assert len(months) == 2
    for count, least, most, total, of_days in months:
        number = count - 1000
        assert 0 <= number < 10
        assert (least, most, total, of_days) == (number, number, number * count, count)


@pytest.mark.parametrize("seconds", [0.05, 1])
def test_reads_while_months_are_replaced_are_right(root: str, seconds: float) -> None:
    database = LakeDatabase(data_root=root)
    with writer(root, 0, 1, JANUARY, FEBRUARY) as first:
        assert first.wait() == 0
    with writer(root, seconds, 1_000_000, JANUARY, FEBRUARY) as process:
        for _ in range(READS):
            check_read(database)
        assert process.poll() is None


def test_nine_writers_lose_and_double_nothing(root: str) -> None:
    """Four replace one month, which none has written before; five have a month each."""
    months = [*[JANUARY] * 4, *(f"2023-{number:02}-01" for number in range(2, 7))]
    with ThreadPoolExecutor(len(months)) as threads:

        def write(month: str) -> int:
            with writer(root, 0, 5, month) as process:
                return process.wait()

        assert list(threads.map(write, months)) == [0] * 9
    lake = Lake(DataRoot.at(root))
    for table in (TRIPS, TRIP_DAYS):
        assert [c.operation for c in lake.history(table)].count("WRITE") == 45
    with LakeDatabase(data_root=root).get_connection() as con:
        found = con.execute(
            "SELECT partition_date::VARCHAR, count(*) FROM trips GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert found == [(month, 1004) for month in sorted(set(months))]


def test_killed_writer_leaves_a_committed_state(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    with writer(str(tmp_path), 0, 1, JANUARY, FEBRUARY) as first:
        assert first.wait() == 0
    for kill in range(KILLS):
        with writer(str(tmp_path), 0, 1_000_000, JANUARY, FEBRUARY) as process:
            time.sleep(0.01 + 0.007 * (kill % 20))
            process.send_signal(signal.SIGKILL)
            process.wait()
        check_read(database)


def test_files_are_on_disk_before_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    fsync, log = os.fsync, tmp_path / "staging" / "zones" / "_delta_log"

    def record(descriptor: int) -> None:
        commits = len(list(log.glob("*.json"))) if log.exists() else 0
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), commits))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    lake = LakeDatabase(data_root=str(tmp_path)).lake
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        lake.write(con, ZONES, Rows("SELECT 1 AS zone_id"))
    file = str(lake.snapshot().files(ZONES)[""].path)
    assert {(file, 0), (str(tmp_path / "staging" / "zones"), 0)} < {*synced}
    assert (str(log / f"{1:020}.json"), 2) in synced


@pytest.mark.parametrize("content", [b"", bytes(500)], ids=["empty", "NUL bytes"])
@pytest.mark.parametrize("torn", ["json", "checkpoint.parquet"])
def test_torn_commit_or_checkpoint_is_no_obstacle(
    tmp_path: Path, torn: str, content: bytes
) -> None:
    lake = LakeDatabase(data_root=str(tmp_path)).lake
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        for zone_id in range(11):  # the tenth commit has a checkpoint
            lake.write(con, ZONES, Rows(f"SELECT {zone_id} AS zone_id"))
        before = lake.snapshot().files(ZONES)
        log = tmp_path / "staging" / "zones" / "_delta_log"
        newest = max(log.glob(f"*.{torn}"))
        newest.write_bytes(content)
        expected = sorted((tmp_path / "staging" / "zones").glob("*.parquet"))
        found = lake.snapshot().files(ZONES)[""]
        assert str(found.path) in map(str, expected)
        assert (found == before[""]) == (torn != "json")
        assert len(lake.history(ZONES)) >= 10
        lake.write(con, ZONES, Rows("SELECT 12 AS zone_id"))
        file = literal(lake.snapshot().files(ZONES)[""].path)
        assert con.execute("SELECT zone_id FROM read_parquet($f)", {"f": file}).fetchall() == [
            (12,)
        ]


def test_log_with_other_damage_is_named(tmp_path: Path) -> None:
    lake = LakeDatabase(data_root=str(tmp_path)).lake
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        lake.write(con, ZONES, Rows("SELECT 1 AS zone_id"))
    log = tmp_path / "staging" / "zones" / "_delta_log"
    max(log.glob("*.json")).write_text('{"add": {"pa')
    with pytest.raises(DamagedLog, match=f"{log} cannot be read .*: put it back from a backup"):
        lake.snapshot().files(ZONES)


def test_commit_that_always_loses_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deltalake
    from deltalake.exceptions import CommitFailedError

    def lose(*_: object, **__: object) -> None:
        raise CommitFailedError("another writer was first")

    monkeypatch.setattr(deltalake.DeltaTable, "create_write_transaction", lose)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    file = LakeFile(UPath(tmp_path), "zones-1.parquet", "", 1, datetime.now(UTC))
    with pytest.raises(CommitConflict, match="each of 30 tries; nothing was changed, run it again"):
        TableLog(UPath(tmp_path) / "zones", ZONES).commit(file, {})


def test_commit_names_what_was_loaded(root: str) -> None:
    lake = Lake(DataRoot.at(root))
    details = {"month": "2023-01", "source": "https://example.org", "sha256": "5f", "run": "r"}
    with (
        LakeDatabase(data_root=root).get_connection() as con,
        lake.replacement([TRIPS, TRIP_DAYS], JANUARY, details) as new,
    ):
        for table in (TRIPS, TRIP_DAYS):
            new.write(con, table, Rows("SELECT 1 AS num_trips"))
    for table in (TRIPS, TRIP_DAYS):
        newest, created = lake.history(table)
        assert (newest.version, newest.operation, newest.details) == (1, "WRITE", details)
        assert created.version == 0


def test_trips_and_days_are_replaced_together_only(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    for table in (TRIPS, TRIP_DAYS):
        with (
            database.get_connection() as con,
            pytest.raises(ValueError, match="are replaced together"),
        ):
            database.lake.write(con, table, Rows("SELECT 1 AS vendor_id"), JANUARY)


def test_older_writer_drops_no_column(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    older = replace(ZONES, columns=ZONES.columns[:2])
    with database.get_connection() as con:
        database.lake.write(con, ZONES, Rows("SELECT 1 AS zone_id, 'a' AS zone, 'b' AS borough"))
        database.lake.write(con, older, Rows("SELECT 1 AS zone_id, 'a' AS zone"))
    schema = json.loads(
        [
            action["metaData"]["schemaString"]
            for file in sorted((tmp_path / "staging" / "zones" / "_delta_log").glob("*.json"))
            for action in map(json.loads, file.read_text().splitlines())
            if "metaData" in action
        ][-1]
    )
    assert [field["name"] for field in schema["fields"]] == [c.name for c in ZONES.columns]


def counts(database: LakeDatabase, **options: Any) -> list[tuple[int, int]]:
    """Trips, and the trips of their days."""
    query = "SELECT (SELECT count(*) FROM trips), (SELECT sum(num_trips) FROM trip_days)"
    with database.get_connection(**options) as con:
        return con.execute(query).fetchall()


def write_trips(database: LakeDatabase, count: int, month: str = JANUARY) -> None:
    query = f"SELECT DATE '2023-01-05' AS pickup_date FROM range({count})"
    with database.get_connection(tables=[]) as con:
        Month(month, Rows(query)).write(con, database.lake)


def test_month_is_put_back_as_it_was(root: str) -> None:
    database = LakeDatabase(data_root=root)
    for count in (1, 2):
        write_trips(database, count)
    write_trips(database, 10, FEBRUARY)
    assert database.lake.roll_back(TRIPS, JANUARY, 1, {"run": "a-run"}) == 4
    assert counts(database) == [(11, 11)]
    newest, *_ = database.lake.history(TRIPS)
    assert (newest.version, newest.details) == (4, {"run": "a-run"})
    assert database.lake.roll_back(TRIPS, JANUARY, 3, {}) == 5
    assert counts(database) == [(12, 12)]
    with pytest.raises(ValueError, match="version 1 of trips has no 2023-02-01"):
        database.lake.roll_back(TRIPS, FEBRUARY, 1, {})


def test_rollback_survives_a_vacuum_that_has_begun(root: str) -> None:
    database = LakeDatabase(data_root=root)
    for count in (1, 2):
        write_trips(database, count)
    then = database.lake.snapshot((TRIPS, 1))
    chosen_for_removal = [then.files(table)[JANUARY].path for table in (TRIPS, TRIP_DAYS)]
    database.lake.roll_back(TRIPS, JANUARY, 1, {})
    for path in chosen_for_removal:
        path.unlink()
    assert counts(database) == [(1, 1)]


def test_lake_is_read_as_of_a_version(root: str) -> None:
    database = LakeDatabase(data_root=root)
    for count in (1, 2, 3):
        write_trips(database, count)
    for version, count in ((1, 1), (2, 2), (3, 3)):
        then = database.lake.snapshot((TRIPS, version))
        assert counts(database, snapshot=then) == [(count, count)]


def test_vacuum_keeps_what_is_in_use_or_recent(root: str) -> None:
    database = LakeDatabase(data_root=root)
    for count in (1, 2, 3):
        write_trips(database, count)
    database.lake.root.staging.joinpath("trips", "unfinished.parquet").write_bytes(b"PAR1")
    assert database.lake.vacuum(timedelta(days=7)) == []
    assert counts(database, snapshot=database.lake.snapshot((TRIPS, 1))) == [(1, 1)]
    assert len(database.lake.vacuum(timedelta(0))) == 5  # two of trips, two of days, the unfinished
    assert counts(database) == [(3, 3)]
    with pytest.raises(ValueError, match="was removed after its retention: load 2023-01-01 again"):
        database.lake.roll_back(TRIPS, JANUARY, 1, {})


def test_removed_file_of_a_table_without_partitions_is_named(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    with database.get_connection(tables=[]) as con:
        for name in ("a", "b"):
            rows = Rows("SELECT 1 AS zone_id, $name AS zone", {"name": name})
            database.lake.write(con, ZONES, rows)
    database.lake.vacuum(timedelta(0))
    with pytest.raises(ValueError, match="after its retention: load zones again"):
        database.lake.roll_back(ZONES, "", 1, {})


def age_replaced_files(database: LakeDatabase, written: timedelta, replaced: timedelta) -> None:
    """Make the files that loads have replaced older, and their replacement too."""
    now = datetime.now(UTC).timestamp()
    for table in (TRIPS, TRIP_DAYS):
        folder = Path(str(log_of(database.lake.root, table).folder))
        for commit in (folder / "_delta_log").glob("*.json"):
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            for removed in (action["remove"] for action in actions if "remove" in action):
                removed["deletionTimestamp"] = int((now - replaced.total_seconds()) * 1000)
                os.utime(folder / removed["path"], (now - written.total_seconds(),) * 2)
            commit.write_text("\n".join(map(json.dumps, actions)) + "\n")


@pytest.mark.parametrize("older_log", [False, True])
@pytest.mark.parametrize("replaced_days", [10, 31])
def test_old_file_stays_for_the_retention_once_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_log: bool, replaced_days: int
) -> None:
    """A checkpoint after the format's default of a week no longer names the file."""
    database, days = LakeDatabase(data_root=str(tmp_path)), timedelta(days=1)
    with monkeypatch.context() as patch:
        if older_log:
            patch.delitem(table_log.CONFIGURATION, "delta.deletedFileRetentionDuration")
        for count in (1, 2):
            write_trips(database, count)
    age_replaced_files(database, 60 * days, replaced_days * days)
    for _ in range(12):
        write_trips(database, 3, FEBRUARY)
    assert list(tmp_path.glob("staging/trips/_delta_log/*.checkpoint.parquet"))
    removed = database.lake.vacuum(30 * days)
    if replaced_days > 30:
        assert len(removed) == 2
    else:
        assert removed == []
        database.lake.roll_back(TRIPS, JANUARY, 1, {})
        assert counts(database) == [(4, 4)]


def test_vacuum_completes_the_properties_of_an_older_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.delitem(table_log.CONFIGURATION, "delta.deletedFileRetentionDuration")
        write_trips(database, 1)
    database.lake.vacuum(timedelta(days=7))
    for table in (TRIPS, TRIP_DAYS):
        log = DeltaTable(str(log_of(database.lake.root, table).folder))
        assert log.metadata().configuration == table_log.CONFIGURATION
    versions = len(database.lake.history(TRIPS))
    write_trips(database, 2)
    assert len(database.lake.history(TRIPS)) == versions + 1
    assert counts(database) == [(2, 2)]


def test_vacuum_keeps_days_whose_commit_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load has ended between the commit of its days and that of its trips."""
    database = LakeDatabase(data_root=str(tmp_path))
    write_trips(database, 1)
    with end_before_commit(monkeypatch, TRIPS), pytest.raises(MemoryError):
        write_trips(database, 2)
    assert counts(database) == [(1, 1)]
    database.lake.vacuum(timedelta(0))
    assert counts(database) == [(1, 1)]
    (days,) = log_of(database.lake.root, TRIP_DAYS).files().values()
    assert days.path == database.lake.snapshot().files(TRIP_DAYS)[JANUARY].path


def test_duckdbs_delta_extension_reads_the_same_rows(old_lake: LakeDatabase) -> None:
    """After a takeover, a load, a rollback and a load of more columns."""
    write_trips(old_lake, 3, "2023-03-01")
    write_trips(old_lake, 5, "2023-03-01")
    old_lake.lake.roll_back(TRIPS, "2023-03-01", 1, {})
    with old_lake.get_connection(tables=[]) as con:
        Month("2023-04-01", Rows("SELECT 'app' AS request_source")).write(con, old_lake.lake)
    package = Path(str(duckdb_extension_delta.__file__)).parent
    (extension,) = package.glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension")
    ours = rows_of(old_lake)
    with duckdb.connect() as con, old_lake.get_connection() as own:
        con.load_extension(str(extension))
        for table in (TRIPS, TRIP_DAYS):
            names = ", ".join(own.table(table.name).columns)
            folder = str(old_lake.lake.root.staging / table.name)
            query = f"SELECT {names} FROM delta_scan($folder) ORDER BY ALL"
            assert con.execute(query, {"folder": folder}).fetchall() == ours[table.name]
    assert len(ours["trips"]) == 9


@pytest.fixture
def old_lake(tmp_path: Path) -> LakeDatabase:
    """A copy of a lake of release 0.2.0."""
    shutil.copytree(LAKE_OF_0_2, tmp_path / "data")
    return LakeDatabase(data_root=str(tmp_path / "data"))


def rows_of(database: LakeDatabase) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    with database.get_connection() as con:
        return {t.name: con.execute(f"FROM {t.name} ORDER BY ALL").fetchall() for t in TABLES}


def test_lake_without_logs_is_read_as_before(old_lake: LakeDatabase) -> None:
    rows = rows_of(old_lake)
    assert {name: len(found) for name, found in rows.items() if found} == {
        "trip_days": 5,
        "trips": 5,
        "zones": 1,
    }
    assert not list(Path(old_lake.data_root).rglob("_delta_log"))


def test_first_load_takes_over_a_lake_without_logs(old_lake: LakeDatabase) -> None:
    before, files = rows_of(old_lake), set(Path(old_lake.data_root).rglob("*.parquet"))
    with old_lake.get_connection(tables=[]) as con:
        Month("2023-03-01", Rows("SELECT DATE '2023-03-05' AS pickup_date")).write(
            con, old_lake.lake
        )
        lake = old_lake.lake.snapshot()
        assert lake.fingerprint(con, TRIPS, JANUARY) == f"sha-of-{JANUARY} version"
        assert lake.fingerprint(con, TRIP_DAYS, FEBRUARY) == f"sha-of-{FEBRUARY} version"
    assert list(lake.files(TRIPS)) == [JANUARY, FEBRUARY, "2023-03-01"]
    assert files < set(Path(old_lake.data_root).rglob("*.parquet"))
    after = rows_of(old_lake)
    assert [row for row in after["trips"] if row in before["trips"]] == before["trips"]
    assert len(after["trips"]) == len(before["trips"]) + 1
    assert [c.operation for c in old_lake.lake.history(TRIPS)] == ["WRITE", "CREATE TABLE"]


def test_writers_at_once_take_over_a_lake_once(old_lake: LakeDatabase) -> None:
    months = [f"2024-{number:02}-01" for number in range(1, 7)]
    with old_lake.get_connection(tables=[]) as con, ThreadPoolExecutor(6) as threads:

        def write(month: str) -> None:
            with con.cursor() as cursor:
                trips = Rows("SELECT DATE '2024-01-05' AS pickup_date")
                Month(month, trips).write(cursor, old_lake.lake)

        list(threads.map(write, months))
    for table in (TRIPS, TRIP_DAYS):
        assert list(old_lake.lake.snapshot().files(table)) == [JANUARY, FEBRUARY, *months]
        assert [c.operation for c in old_lake.lake.history(table)].count("CREATE TABLE") == 1


def test_half_replaced_month_of_an_old_lake_is_left_out(old_lake: LakeDatabase) -> None:
    """A process that died between the two moves of a first load has left trips without days."""
    (days,) = Path(old_lake.data_root).rglob(f"partition_date={FEBRUARY}/trip_days.parquet")
    days.unlink()
    assert list(old_lake.lake.snapshot().files(TRIPS)) == [JANUARY]
    rows_of(old_lake)


def test_version_that_a_log_lacks_is_named(old_lake: LakeDatabase) -> None:
    with old_lake.get_connection(tables=[]) as con:
        Month(JANUARY, Rows("SELECT 1 AS vendor_id")).write(con, old_lake.lake)
    log = log_of(old_lake.lake.root, TRIPS)
    assert len(log.files(0)) == len(log.files(1)) == 2
    assert log.files(0) != log.files(1)
    with pytest.raises(ValueError, match="staging/trips has no version 7; expected 0 to 1"):
        log.files(7)
