"""Dagster's databases: waiting for a lock or a server that restarts; the revisions, read once."""

import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

import taxi_shared.process  # noqa: F401 - sets up connections, of engines made before, too
from taxi_shared import instance_storage


def test_locked_database_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    lock = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    lock.execute("CREATE TABLE runs (id)")
    lock.execute("BEGIN EXCLUSIVE")
    threading.Timer(1, lock.execute, ["COMMIT"]).start()
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.1})
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO runs VALUES (1)"))
    engine.dispose()
    lock.close()


def test_postgres_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_storage, "POSTGRES_SECONDS", 1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = sa.create_engine(f"postgresql+psycopg2://dagster@127.0.0.1:{port}/dagster")
    begin = time.monotonic()
    with pytest.raises(sa.exc.OperationalError, match="refused"), engine.connect():
        pass
    assert time.monotonic() - begin > 1


def test_dagster_waits_longer_than_by_itself(tmp_path: Path) -> None:
    waits: list[object] = []

    def note(_: object, __: object, ___: object, options: dict[str, object]) -> None:
        waits.append(options["timeout"])

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        sa.event.listen(sa.Engine, "do_connect", note)
        try:
            assert instance.get_runs() == []
        finally:
            sa.event.remove(sa.Engine, "do_connect", note)
    assert waits == [instance_storage.SQLITE_SECONDS]


def test_revisions_of_the_schema_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.job
    def nothing() -> None:
        """Do nothing, in a run with its own database."""

    with dg.DagsterInstance.local_temp(str(tmp_path)) as first:
        first.get_runs()
    (home := tmp_path / "home").mkdir()
    monkeypatch.setattr(ScriptDirectory, "_load_revisions", lambda _: pytest.fail("read again"))
    with dg.DagsterInstance.local_temp(str(home)) as second:
        assert nothing.execute_in_process(instance=second).success
    monkeypatch.undo()
    newest = ScriptDirectory(str(Path(dg.__file__).parent / "_core" / "storage" / "alembic"))
    databases = list(home.rglob("*.db"))
    assert len(databases) == 4
    for file in databases:
        with closing(sqlite3.connect(file)) as database:
            found = database.execute("SELECT version_num FROM alembic_version").fetchall()
        assert found == [(newest.get_current_head(),)], file
