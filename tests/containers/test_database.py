"""Postgres: what the role that runs log in as may do, and the upgrade of an older volume."""

import uuid
from pathlib import Path

import pytest

from taxi_platform.instance import free_port
from tests.containers.conftest import PASSWORD, SAMPLE, Stack, remove

QUERY = """
import os, sys, psycopg2
user, database, statement = sys.argv[1:]
host, password = (os.environ["DAGSTER_POSTGRES_" + name] for name in ("HOST", "PASSWORD"))
try:
    connection = psycopg2.connect(host=host, dbname=database, user=user, password=password)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(statement)
    print(cursor.fetchall())
except psycopg2.Error as error:
    print(type(error).__name__, error)
"""


def query(stack: Stack, statement: str, user: str = "platform", database: str = "dagster") -> str:
    """The rows of a statement, or its error, with what the container of a location knows."""
    return stack.execute("analytics", "python", "-c", QUERY, user, database, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE t (line text); COPY t FROM PROGRAM 'id'",
        "COPY event_logs TO PROGRAM 'cat'",
        "COPY runs TO '/tmp/runs'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE ROLE intruder SUPERUSER",
        "ALTER ROLE platform SUPERUSER",
        "SET ROLE dagster",
        "SET SESSION AUTHORIZATION dagster",
        "GRANT pg_execute_server_program TO platform",
        "CREATE DATABASE another",
        "ALTER SYSTEM SET log_connections = on",
        "SELECT pg_reload_conf()",
        "SELECT rolpassword FROM pg_authid",
        "CREATE FUNCTION f() RETURNS int AS '/tmp/x.so', 'f' LANGUAGE c",
    ],
)
def test_runs_are_not_superuser_of_the_database(stack: Stack, statement: str) -> None:
    assert query(stack, "SELECT COUNT(*) >= 0 FROM runs") == "[(True,)]\n"
    assert query(stack, statement).startswith("InsufficientPrivilege")


def test_role_of_runs_has_no_attribute_nor_membership(stack: Stack) -> None:
    attributes = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    found = query(stack, f"SELECT {attributes} FROM pg_roles WHERE rolname = current_user")
    assert found == "[(False,)]\n"
    memberships = "SELECT COUNT(*) FROM pg_auth_members WHERE member = current_user::regrole"
    # As owner of the database it is in pg_database_owner, which this view leaves out.
    assert query(stack, memberships) == "[(0,)]\n"


@pytest.mark.parametrize(("user", "database"), [("dagster", "dagster"), ("platform", "postgres")])
def test_no_other_login_over_the_network(stack: Stack, user: str, database: str) -> None:
    assert "no pg_hba.conf entry" in query(stack, "SELECT 1", user, database)


def test_password_of_the_database_is_in_no_command_line(stack: Stack) -> None:
    names = stack.compose("ps", "--all", "--quiet", "roles", "postgres", "migrate").split()
    for found in stack.inspect(*names):
        assert PASSWORD not in str(found["Config"]["Cmd"]) + str(found["Config"]["Entrypoint"])
    assert PASSWORD not in stack.compose("logs", "roles", "postgres")


OWNERS = """SELECT string_agg(DISTINCT owner, ' ') FROM (
  SELECT relowner::regrole::text AS owner FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v')
  UNION ALL SELECT typowner::regrole::text FROM pg_type
  WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
  UNION ALL SELECT datdba::regrole::text FROM pg_database WHERE datname = 'dagster') AS owners"""


# The services of the database before there was a role `platform`.
SUPERUSER = """
services:
  postgres:
    command: !override [postgres]
  migrate:
    environment: {DAGSTER_POSTGRES_USER: dagster}
    depends_on: !override
      postgres: {condition: service_healthy}
"""


def test_objects_of_the_role_do_not_run_as_superuser(stack: Stack) -> None:
    """The script of `roles` runs as superuser at every start, beside what runs have made."""
    intrude = """CREATE FUNCTION public.own(oid, regrole) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN
          IF current_user = 'dagster' THEN EXECUTE 'ALTER ROLE platform SUPERUSER'; END IF;
          RETURN $1 = $2::oid;
        END $$;
        CREATE OPERATOR public.= (LEFTARG=oid, RIGHTARG=regrole, FUNCTION=public.own);
        ALTER DATABASE dagster SET search_path = public, pg_catalog; SELECT 1"""
    clean = """ALTER DATABASE dagster RESET search_path;
        DROP OPERATOR public.= (oid, regrole); DROP FUNCTION public.own; SELECT 1"""
    assert query(stack, intrude) == "[(1,)]\n"
    try:
        stack.compose("run", "--rm", "--no-TTY", "--no-deps", "roles")
        found = query(stack, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    finally:
        assert query(stack, clean) == "[(1,)]\n"
    assert found == "[(False,)]\n"


def test_volume_owned_by_the_superuser_is_upgraded(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "superuser.yml").write_text(SUPERUSER)
    settings = {**SAMPLE, "TAXI_IMAGES": stack.project, "COMPOSE_FILE": "docker-compose.yml"}
    project = f"taxi-tests-{uuid.uuid4().hex[:6]}"
    old = Stack(stack.root, project, free_port(), free_port(), settings)

    def superuser(statement: str) -> str:
        psql = ("psql", "-qAt", "--host=/run/postgresql", "--username=dagster", "dagster")
        return old.execute("postgres", *psql, "--command", statement).strip()

    try:
        old.settings["COMPOSE_FILE"] += f":{tmp_path / 'superuser.yml'}"
        old.compose("run", "--rm", "--no-TTY", "migrate")
        assert superuser(OWNERS) == "dagster"
        superuser("INSERT INTO instance_info (run_storage_id) VALUES ('kept')")
        for _ in range(2):  # the second time, there is nothing left to do
            old.settings["COMPOSE_FILE"] = "docker-compose.yml"
            old.compose("run", "--rm", "--no-TTY", "migrate")
            assert superuser(OWNERS) == "platform"
        assert "kept" in superuser("SELECT string_agg(run_storage_id, ' ') FROM instance_info")
        assert superuser("SELECT rolpassword IS NULL FROM pg_authid WHERE rolsuper") == "t"
    finally:
        remove(old)
