"""Data roots on Google Cloud Storage and Azure: clients against emulators, and their options.

The emulators check no keys of Google and no identities of Azure: how those are found is tested by
the options that DuckDB and `deltalake` get.
"""

import json
import tempfile
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest
from upath import UPath

from taxi_shared import stores
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Question
from taxi_shared.engines.spark import to_message
from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import (
    DataRoot,
    partial_path,
    read_all_bounded,
    sweep,
    versions_below,
    write_new,
    write_text,
)
from taxi_shared.stores import StoreError
from taxi_shared.table_log import LakeFile
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES
from taxi_testing.azure_store import AzureServer
from taxi_testing.gcs_store import GcsServer
from taxi_testing.lakes import Month

JANUARY, FEBRUARY = "2023-01-01", "2023-02-01"

needs_gcs = pytest.mark.skipif(
    find_spec("gcsfs") is None, reason="gcsfs is not installed: taxi-shared[gcs]"
)
needs_azure = pytest.mark.skipif(
    find_spec("adlfs") is None or find_spec("duckdb_extension_azure") is None,
    reason="adlfs is not installed: taxi-shared[azure]",
)


@pytest.fixture(params=["gcs_root", "azure_root"])
def root(request: pytest.FixtureRequest) -> str:
    """An empty prefix of a store."""
    return str(request.getfixturevalue(request.param))


def write_trips(database: LakeDatabase, count: int, month: str = JANUARY) -> None:
    trips = "SELECT 1 AS vendor_id, DATE '2023-01-05' AS pickup_date FROM range($n)"
    with database.get_connection(tables=[]) as con:
        Month(month, Rows(trips, {"n": count})).write(con, database.lake)


def count_trips(database: LakeDatabase, version: int | None = None) -> tuple[int, int]:
    """The trips, and how many their days say."""
    snapshot = None if version is None else database.lake.snapshot((TRIPS, version))
    query = "SELECT (SELECT count(*) FROM trips), (SELECT sum(num_trips)::BIGINT FROM trip_days)"
    with database.get_connection(tables=[TRIP_DAYS, TRIPS], snapshot=snapshot) as con:
        found = con.execute(query).fetchall()[0]
    return found[0], found[1]


def test_month_is_loaded_put_back_and_vacuumed(root: str) -> None:
    database = LakeDatabase(data_root=root)
    for count in (1, 2):
        write_trips(database, count)
    write_trips(database, 10, FEBRUARY)
    assert count_trips(database) == (12, 12)
    assert count_trips(database, version=1) == (1, 1)
    assert database.lake.roll_back(TRIPS, JANUARY, 1, {"run": "a-run"}) == 4
    assert count_trips(database) == (11, 11)
    history = database.lake.history(TRIPS)
    assert [commit.version for commit in history] == [4, 3, 2, 1, 0]
    assert history[0].details == {"run": "a-run"}
    assert database.lake.vacuum(timedelta(days=7)) == []
    assert len(database.lake.vacuum(timedelta(0))) == 4  # two versions of January's trips and days
    assert count_trips(database) == (11, 11)
    with pytest.raises(ValueError, match="was removed after its retention"):
        database.lake.roll_back(TRIPS, JANUARY, 2, {})


def test_nine_writers_lose_and_double_nothing(root: str) -> None:
    """Four replace one month, which none has written before; five have a month each."""
    months = [*[JANUARY] * 4, *(f"2023-{number:02}-01" for number in range(2, 7))]
    database = LakeDatabase(data_root=root)

    def write(month: str) -> None:
        for _ in range(2):
            write_trips(database, 1000, month)

    with ThreadPoolExecutor(len(months)) as threads:
        list(threads.map(write, months))
    for table in (TRIPS, TRIP_DAYS):
        assert [c.operation for c in database.lake.history(table)].count("WRITE") == 18
    with database.get_connection() as con:
        found = con.execute(
            "SELECT partition_date::VARCHAR, count(*) FROM trips GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert found == [(month, 1000) for month in sorted(set(months))]


def test_published_file_has_the_tables(root: str, tmp_path: Path) -> None:
    database = LakeDatabase(data_root=root)
    write_trips(database, 3)
    path = database.publish()
    copy = tmp_path / "data.duckdb"
    copy.write_bytes(path.read_bytes())
    with duckdb.connect(str(copy), read_only=True) as con:
        views = con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    assert ("trips",) in views


def test_connection_reads_nothing_beside_the_root(root: str) -> None:
    outside = f"{root}-of-another/x.parquet"
    with (
        LakeDatabase(data_root=root).get_connection() as con,
        pytest.raises(duckdb.Error, match="disabled by configuration"),
    ):
        con.execute("SELECT * FROM read_parquet($file)", {"file": outside})


def test_open_connection_gets_new_keys(root: str) -> None:
    database = LakeDatabase(data_root=root)
    write_trips(database, 3)
    with database.get_connection() as con:
        database.lake.root.attach(con)
        assert con.execute("SELECT count(*) FROM trips").fetchall() == [(3,)]


def test_requests_are_listed_and_read(root: str) -> None:
    folder = DataRoot.at(root).requests
    with pytest.raises(FileNotFoundError):
        folder.fs.ls(folder.path)
    assert write_new(folder / "a.json", b"{}")
    assert not write_new(folder / "a.json", b"[]")
    first = versions_below(folder)
    entries = folder.fs.ls(folder.path, detail=True)
    assert [(entry["name"], entry["size"]) for entry in entries] == [(f"{folder.path}/a.json", 2)]
    assert read_all_bounded(folder, ["a.json"], 10) == [b"{}"]
    (folder / "a.json").write_bytes(b"[]")
    assert versions_below(folder).keys() == first.keys()
    assert versions_below(folder) != first


def test_missing_bucket_is_not_an_empty_lake(root: str) -> None:
    missing = root.replace("tests-", "gone-")
    for attempt in (
        DataRoot.at(missing).check,
        lambda: LakeDatabase(data_root=missing).lake.snapshot().versions(TRIPS),
    ):
        with pytest.raises(StoreError, match=f"{missing}.*: there is no such .*: create it"):
            attempt()


def test_sweep_removes_old_partial_files(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    swept = DataRoot.at(root)
    half, kept = partial_path(swept.staging / "x.parquet"), swept.staging / "x.parquet"
    for path in (half, kept):
        write_text(path, "x")
    assert sweep(swept) == []
    assert sweep(swept, timedelta(days=-1)) == [str(half)]
    assert [*versions_below(swept.base)] == [kept]


def test_old_uploads_to_google_are_aborted(gcs_root: str, gcs_store: GcsServer) -> None:
    from taxi_shared import gcs

    root = DataRoot.at(gcs_root)
    for folder in (root.raw, root.base / "raw-of-another"):
        url = f"{gcs_store.endpoint}/{folder.path}/big%20file?uploads"
        urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()
    now = datetime.now(UTC)
    assert gcs.abort_uploads(root.raw, now - timedelta(days=1)) == []
    assert gcs.abort_uploads(root.raw, now) == [f"{root.raw}/big file (an upload)"]
    assert gcs.abort_uploads(root.raw, now) == []


def test_usable_bucket_passes_the_check(root: str) -> None:
    DataRoot.at(root).check()


def test_refused_key_of_azure_is_named(
    azure_root: str, azure_store: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = azure_store.environment["AZURE_STORAGE_CONNECTION_STRING"]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection.replace("Eby8", "AAAA"))
    with pytest.raises(StoreError, match="access is refused: check AZURE_STORAGE_CONNECTION"):
        DataRoot.at(azure_root).check()


@needs_azure
def test_address_of_azure_has_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    address = "abfss://trips@account.dfs.core.windows.net/data"
    assert str(DataRoot.at(address).raw) == "az://trips/data/raw"
    with pytest.raises(ValueError, match="'az://trips/data' names no account: set AZURE_STORAGE_"):
        DataRoot.at("az://trips/data")
    with pytest.raises(ValueError, match=r"expected abfss://container@account.dfs.core.windows"):
        DataRoot.at("abfss://trips/data")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=a2V5")
    with pytest.raises(ValueError, match=r"is in the account 'account', but .* is of 'other'"):
        DataRoot.at(address)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=a2V5")
    with pytest.raises(ValueError, match="AZURE_STORAGE_CONNECTION_STRING has no AccountName"):
        DataRoot.at(address)


def _secret(path: UPath) -> str:
    """DuckDB's secret of a path, as it shows it."""
    store = stores.store_of(path)
    assert store
    with duckdb.connect() as con:
        store.attach(con, path)
        ((secret,),) = con.execute("SELECT secret_string FROM duckdb_secrets()").fetchall()
    return str(secret)


def _delta_options(path: UPath) -> Mapping[str, str]:
    store = stores.store_of(path)
    assert store
    return store.delta_options(path)


@needs_azure
def test_identity_of_azure_gives_all_clients_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.credentials import AccessToken
    from azure.identity import DefaultAzureCredential

    from taxi_shared import azure

    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)

    def get_token(_: object, *scopes: str, **__: object) -> AccessToken:
        return AccessToken(f"token of {scopes[0]}", 2_000_000_000)

    monkeypatch.setattr(DefaultAzureCredential, "get_token", get_token)
    azure.clear_caches()
    path = DataRoot.at("abfss://trips@account.dfs.core.windows.net/data").base
    token = "token of https://storage.azure.com/.default"
    assert _delta_options(path) == {
        "azure_storage_account_name": "account",
        "azure_storage_token": token,
    }
    secret = _secret(path)
    assert "account_name=account" in secret
    assert "provider=access_token" in secret
    assert path.storage_options["account_name"] == "account"
    azure.clear_caches()


@needs_azure
def test_connection_string_of_azure_is_that_of_all_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = "AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.windows.net"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    path = DataRoot.at("az://trips/data").base
    assert _delta_options(path) == {
        "azure_storage_account_name": "mine",
        "azure_storage_account_key": "a2V5",
    }
    assert path.storage_options["connection_string"] == connection
    assert "a2V5" not in _secret(path)


@needs_azure
@pytest.mark.parametrize("address", ["az://trips/data", "az://trips"])
def test_spark_gets_addresses_of_hadoops_client(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=mine;AccountKey=a2V5")
    lake = Lake(DataRoot.at(address)).snapshot()
    file = LakeFile(lake.folder(ZONES), "a{1}.parquet", "", 1, datetime.now(UTC))
    asked = Question("zones", "SELECT 1", tuple[int], lake, [ZONES], {})
    (table,) = to_message(asked, [(ZONES, [file])], "s3a")["tables"]
    prefix = address.removeprefix("az://trips")
    assert table["folder"] == f"abfss://trips@mine.dfs.core.windows.net{prefix}/staging/zones"
    assert table["files"] == [f"{table['folder']}/a\\{{1\\}}.parquet"]


@needs_gcs
def test_login_of_google_gives_duckdb_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import google.auth
    from google.oauth2.credentials import Credentials

    from taxi_shared import gcs

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    keys = tmp_path / "keys.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(keys))

    def default(**_: object) -> tuple[Any, str]:
        return Credentials("a-token"), "project"  # type: ignore[no-untyped-call]  # google-auth

    monkeypatch.setattr(google.auth, "default", default)
    gcs.clear_caches()
    path = DataRoot.at("gcs://bucket/data").base
    assert str(path) == "gs://bucket/data"
    secret = _secret(path)
    assert "type=gcs" in secret
    assert "bearer_token=redacted" in secret
    assert "a-token" not in secret
    assert _delta_options(path) == {"google_application_credentials": str(keys)}
    gcs.clear_caches()


@needs_gcs
def test_missing_login_of_google_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from taxi_shared import gcs

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    gcs.clear_caches()
    root = DataRoot.at("gs://bucket/data")
    with duckdb.connect() as con, pytest.raises(StoreError, match="no keys are found: set GOOGLE_"):
        root.attach(con)
    with pytest.raises(StoreError, match="gs://bucket/data: no keys are found: set GOOGLE_"):
        root.check()
    gcs.clear_caches()


def test_emulator_of_google_needs_no_keys(gcs_root: str, gcs_store: GcsServer) -> None:
    options = _delta_options(DataRoot.at(gcs_root).base)
    key = json.loads(options["google_service_account_key"])
    assert (key["gcs_base_url"], key["disable_oauth"]) == (gcs_store.endpoint, True)


@pytest.mark.parametrize(
    ("address", "package", "extra"),
    [
        ("gs://bucket/data", "gcsfs", "gcs"),
        ("abfss://trips@account.dfs.core.windows.net/data", "adlfs", "azure"),
    ],
)
def test_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, address: str, package: str, extra: str
) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda _: None)
    expected = rf"TAXI_DATA_ROOT: the package {package} .*: install taxi-shared\[{extra}\]"
    with pytest.raises(ValueError, match=expected):
        DataRoot.at(address)


def test_other_scheme_names_the_accepted_ones() -> None:
    with pytest.raises(
        ValueError, match=r"expected a folder or s3://.*, gs://.*, az://.* abfss://"
    ):
        DataRoot.at("hdfs://host/data")
