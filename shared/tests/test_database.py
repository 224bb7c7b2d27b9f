"""The `database` resource reaches the data root and nothing else."""

import shutil
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Rows
from taxi_shared.tables import TABLES, TRIPS
from taxi_testing.lakes import Month
from taxi_testing.object_store import S3Server

CALLERS = {
    "allow_unsigned_extensions": True,
    "allow_community_extensions": True,
    "autoinstall_known_extensions": True,
    "autoload_known_extensions": True,
    "enable_external_access": True,
    "custom_extension_repository": "http://127.0.0.1:1",
}


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a data root in a folder or on S3."""
    folder = str(tmp_path / "data")
    return folder if request.param == "folder" else str(request.getfixturevalue("s3_root"))


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_text('/etc/passwd')",
        "FROM read_csv('http://127.0.0.1:1/x.csv')",
        "COPY (SELECT 1) TO '/tmp/taken.parquet'",
        "ATTACH '/tmp/taken.duckdb' AS taken",
        "ATTACH 'md:taken'",
        "INSTALL spatial",
        "LOAD '/tmp/evil.duckdb_extension'",
        "INSTALL httpserver FROM community",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET custom_extension_repository = 'http://127.0.0.1:1'",
        "SET lock_configuration = false",
    ],
)
def test_connection_is_confined_to_its_data_root(root: str, statement: str) -> None:
    database = LakeDatabase(data_root=root, connection_config=CALLERS)
    with database.get_connection(tables=[]) as con, pytest.raises(duckdb.Error) as refused:
        con.execute(statement)
    assert isinstance(
        refused.value,
        duckdb.PermissionException | duckdb.InvalidInputException | duckdb.IOException,
    )


def test_files_beside_the_data_root_are_unreachable(tmp_path: Path) -> None:
    (tmp_path / "data-of-another").mkdir()
    for path in ("data-of-another/x.parquet", "data/../x.parquet"):
        database, target = LakeDatabase(data_root=str(tmp_path / "data")), str(tmp_path / path)
        with (
            database.get_connection(tables=[]) as con,
            pytest.raises(duckdb.PermissionException),
        ):
            con.execute("COPY (SELECT 1) TO $path", {"path": target})


def test_options_cannot_unlock_a_connection(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path), connection_config=CALLERS)
    with database.get_connection(tables=[], options={"threads": 3}) as con:
        names = [*CALLERS, "threads", "max_temp_directory_size"]
        found = {
            name: con.execute("SELECT current_setting($name)", {"name": name}).fetchall()[0][0]
            for name in names
        }
    assert found["threads"] == 3
    assert found["max_temp_directory_size"] == "46.5 GiB"
    assert not any(found[name] for name in CALLERS if name != "custom_extension_repository")


@pytest.mark.parametrize("field", LakeDatabase.model_fields)
def test_run_config_cannot_set_a_resource(tmp_path: Path, field: str) -> None:
    used: list[str] = []

    @dg.asset
    def user(database: LakeDatabase) -> None:
        used.append(database.data_root)

    other = {"connection_config": {"threads": 1}}.get(field, str(tmp_path / "other"))
    # Dagster requires every field without a default if one is given.
    config = {"data_root": str(tmp_path / "other"), field: other}
    result = dg.materialize(
        [user],
        resources={"database": LakeDatabase(data_root=str(tmp_path))},
        run_config={"resources": {"database": {"config": config}}},
        raise_on_error=False,
    )
    assert not result.success
    assert used == []


def test_run_config_cannot_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "s3cr3t")
    seen: list[str] = []

    class Named(dg.Config):
        name: str

    @dg.asset
    def user(config: Named, database: LakeDatabase) -> None:
        seen.append(config.name)

    for name, expected in ({"env": "A_SECRET"}, False), ("plain", True):
        result = dg.materialize(
            [user],
            resources={"database": LakeDatabase(data_root=str(tmp_path))},
            run_config={"ops": {"user": {"config": {"name": name}}}},
            raise_on_error=False,
        )
        assert result.success is expected
    assert seen == ["plain"]


def test_published_file_opens_in_any_duckdb(tmp_path: Path) -> None:
    database = LakeDatabase(data_root=str(tmp_path))
    with database.get_connection() as con:
        for table in TABLES:
            if table.partition_by is None:
                columns = ", ".join(f"NULL::{c.type} AS {c.name}" for c in table.columns)
                database.lake.write(con, table, Rows(f"SELECT {columns}"))
    with duckdb.connect(str(database.publish()), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM zones").fetchone() == (1,)


def write_month(address: str, vendor: int) -> LakeDatabase:
    """Write a month of one trip."""
    database = LakeDatabase(data_root=address)
    with database.get_connection(tables=[]) as con:
        trips = Rows("SELECT $vendor::INTEGER AS vendor_id", {"vendor": vendor})
        Month("2023-01-01", trips).write(con, database.lake)
    return database


def check_chain(address: str) -> None:
    """Write a month, read it, and read it through the published file in another DuckDB."""
    database = write_month(address, 1)
    columns = {"vendor_id", "partition_date"}
    with database.get_connection(tables=[TRIPS]) as con:
        assert set(con.table("trips").columns) == columns
        trips = con.execute("SELECT vendor_id, partition_date::VARCHAR FROM trips").fetchall()
    assert trips == [(1, "2023-01-01")]
    published = str(database.publish())
    with duckdb.connect() as con:
        database.lake.root.attach(con)
        con.execute(f"ATTACH {duckdb.ConstantExpression(published)} AS lake (READ_ONLY)")
        con.execute("USE lake")
        assert set(con.table("trips").columns) == columns
        query = "SELECT vendor_id, partition_date::VARCHAR FROM trips"
        assert con.execute(query).fetchall() == trips


@pytest.mark.parametrize(
    "name",
    [
        *("a[b]c", "[a-z]", "q?", "st*r", "vendor_id=7", "partition_date=1999-01-01", "x/"),
        "h#% &=bl ank'\"ü{a,b}$;~`|<>^!@:+() ",
    ],
)
def test_folder_of_any_name_is_a_data_root(tmp_path: Path, name: str) -> None:
    write_month(str(tmp_path / "abc"), 2)
    for neighbour in ("a", "qx", "stXr"):  # which a pattern would find
        shutil.copytree(tmp_path / "abc", tmp_path / neighbour)
    check_chain(f"{tmp_path}/{name}")


def test_bucket_and_prefix_of_odd_characters_are_data_roots(
    s3_root: str, object_store: S3Server
) -> None:
    check_chain(object_store.new_bucket())
    check_chain(f"{s3_root}/#% +='ü{{}}~$|;,<>^!@:() end/vendor_id=7/")
