"""A backup of database and data root, and the way back to it."""

import gzip
import subprocess
from pathlib import Path

from tests.containers.conftest import Stack, command
from tests.containers.test_deploy import MONTH
from tests.waiting import wait_for

LAKE = "/data/staging/trips/partition_date=2023-01-01"


def digest_of_lake(stack: Stack) -> str:
    code = f"""
import hashlib, pathlib
for file in sorted(pathlib.Path({LAKE!r}).glob("*.parquet")):
    print(file.name, hashlib.sha256(file.read_bytes()).hexdigest())
"""
    return stack.python("ingestion", code)


def tried_script(stack: Stack, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One of the scripts that is to refuse a folder."""
    return subprocess.run(
        [f"deploy/{name}", str(folder)],
        check=False,
        cwd=stack.root,
        env=stack.environment,
        capture_output=True,
        text=True,
    )


def test_restore_brings_back_data_deleted_after_the_backup(stack: Stack, tmp_path: Path) -> None:
    run = stack.graphql.launch("ingestion", "trip_update_job", tags=MONTH)
    assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)
    wait_for(lambda: not stack.runs_going(), what="the removal of ended runs")
    lake = digest_of_lake(stack)
    assert lake
    backup = tmp_path / "backup"
    command("deploy/backup.sh", str(backup), cwd=stack.root, env=stack.environment)
    assert sorted(file.name for file in backup.iterdir()) == [
        "data-root",
        "data.tar.gz",
        "database.tar.gz",
    ]
    assert {file.stat().st_mode & 0o077 for file in (backup, *backup.iterdir())} == {0}
    wait_for(stack.graphql.is_up, what="the webserver")
    stack.wait_for_locations()

    stack.python("ingestion", f"import shutil; shutil.rmtree({LAKE!r})")
    mutation = """mutation ($id: String!) { deletePipelineRun(runId: $id) { __typename } }"""
    stack.graphql.ask(mutation, id=run)
    assert run not in stack.graphql.runs_of("ingestion", "trip_update_job")

    command("deploy/restore.sh", str(backup), cwd=stack.root, env=stack.environment)
    stack.wait_for_locations()
    assert stack.graphql.runs_of("ingestion", "trip_update_job")[run] == "SUCCESS"
    assert digest_of_lake(stack) == lake
    # The next one to be restored is the same, its last file cut off.
    (backup / "data.tar.gz").write_bytes(gzip.compress(b"no archive"))
    tried = tried_script(stack, "restore.sh", backup)
    assert tried.returncode != 0
    stack.wait_for_locations()
    assert stack.graphql.runs_of("ingestion", "trip_update_job")[run] == "SUCCESS"
    assert digest_of_lake(stack) == lake


def test_database_is_migrated_before_services_start(stack: Stack) -> None:
    names = ("migrate", "webserver", "daemon")
    migrate, *users = (
        stack.inspect(stack.compose("ps", "--all", "--quiet", name).strip())[0]["State"]
        for name in names
    )
    assert migrate["ExitCode"] == 0
    for user in users:
        assert migrate["FinishedAt"] < user["StartedAt"]


def test_damaged_backup_is_refused_before_any_change(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "data-root").write_text("/data\n")
    for file in ("database", "data"):
        (tmp_path / f"{file}.tar.gz").write_bytes(b"not gzip")
    tried = tried_script(stack, "restore.sh", tmp_path)
    assert tried.returncode != 0
    assert "not in gzip format" in tried.stderr
    assert stack.graphql.is_up()


def test_a_backup_does_not_replace_another(stack: Stack, tmp_path: Path) -> None:
    tried = tried_script(stack, "backup.sh", tmp_path)
    assert tried.returncode == 1
    assert "choose a new folder" in tried.stderr
    assert stack.graphql.is_up()
