"""Warehouses answer as DuckDB does.

BigQuery's driver talks to a service on this machine that runs the queries. The drivers of Snowflake
and Redshift are stand-ins over DuckDB: how the real ones behave was read in their source.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import duckdb
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, NoAnswer, Question
from taxi_shared.engines.external_tables import MANIFESTS, write_manifests
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.warehouses import BigQuery, Redshift, Snowflake, in_pyformat
from taxi_shared.lake import Lake, create_view
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES, TRIPS
from taxi_testing.bigquery_service import BigQueryService, bigquery_service
from taxi_testing.cancelled_runs import ENDLESS, cancel_while_asking
from taxi_testing.questions import SQL, question, write_lake, write_month


class Number(NamedTuple):
    num_trips: int


def number(lake: Lake, sql: str) -> Question[Number]:
    return Question("trips", sql, Number, lake.snapshot(), [TRIPS], {"remainder": "3"})


@dataclass
class Driver:
    """A driver's stand-in: what it was asked to do, and what happens before its next queries."""

    root: Path
    statements: list[str] = field(default_factory=list)
    error: BaseException | None = None
    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    con: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)

    def run(self, sql: str, values: Sequence[object] | None = None) -> Any:
        """Run a query with the files that manifests name, or else with those of the lake."""
        if self.error:
            raise self.error
        if self.meanwhile:
            self.meanwhile.pop()()
        lake = Lake(DataRoot.at(str(self.root))).snapshot()
        for table in TABLES:
            manifests = sorted((self.root / "staging" / table.name / MANIFESTS).rglob("manifest"))
            files = [each.read_text().strip() for each in manifests]
            if files or lake.files(table):
                create_view(
                    self.con, table, files or [f.address for f in lake.files(table).values()]
                )
        return self.con.execute(sql, values)


class Cursor:
    """A cursor of DB-API 2.0, and its connection."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.description: Any = None
        self.found: Any = None

    def cursor(self) -> "Cursor":
        return self

    def close(self) -> None:
        self.driver.statements.append("closed")


class SnowflakeCursor(Cursor):
    """Values become literals of the text, names are in upper case, and known once rows are."""

    def execute(self, sql: str) -> None:
        self.driver.statements.append(sql)

    def execute_async(self, sql: str, parameters: Mapping[str, str | date]) -> dict[str, str]:
        texts = {name: str(value).replace("'", "''") for name, value in parameters.items()}
        self.sql = sql % {name: f"'{text}'" for name, text in texts.items()}
        return {"queryId": "01bc-query"}

    def get_results_from_sfqid(self, query: str) -> None:
        assert query == "01bc-query"

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        self.found = self.driver.run(self.sql)
        rows: list[tuple[Any, ...]] = self.found.fetchmany(size)
        self.description = [(name.upper(), *rest) for name, *rest in self.found.description]
        return rows

    def abort_query(self, query: str) -> bool:
        self.driver.statements.append(f"abort {query}")
        return True


class RedshiftCursor(Cursor):
    """Values are sent apart; the tables are the files of manifests."""

    paramstyle = "format"

    def execute(self, sql: str, values: Sequence[object] | None = None) -> None:
        self.driver.statements.append(sql)
        if values is not None:
            assert self.paramstyle == "qmark"
            self.found = self.driver.run(sql, values)
            self.description = self.found.description

    def fetchall(self) -> list[list[int]]:
        assert self.driver.statements[-1] == "SELECT pg_backend_pid()"
        return [[42]]

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.found.fetchmany(size)
        return rows


@dataclass(frozen=True)
class Setting:
    database: LakeDatabase
    driver: Driver
    service: BigQueryService

    @property
    def lake(self) -> Lake:
        return self.database.lake

    def engine(self, name: str) -> Engine:
        if name == "snowflake":
            return Snowflake(database=self.database)
        if name == "redshift":
            return Redshift(database=self.database, host="cluster.example.org")
        return BigQuery(database=self.database)

    def ask(self, name: str, asked: Question[Any]) -> list[Any]:
        return self.engine(name).ask(dg.build_asset_context(), asked).rows


@pytest.fixture(scope="module")
def lake_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(Lake(DataRoot.at(str(folder))))
    return folder


@pytest.fixture
def setting(
    lake_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setting]:
    data = shutil.copytree(lake_folder, tmp_path / "data")  # a test changes it
    database, driver = LakeDatabase(data_root=str(data)), Driver(data)
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]  # it has no types
    monkeypatch.setattr(Snowflake, "connect", lambda _: SnowflakeCursor(driver))
    monkeypatch.setattr(Redshift, "connect", lambda _: RedshiftCursor(driver))
    monkeypatch.setattr(
        BigQuery,
        "client",
        lambda _: bigquery.Client(project="taxis", credentials=anonymous),
    )
    with bigquery_service(database) as service:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.address)
        yield Setting(database, driver, service)


WAREHOUSES = ("bigquery", "redshift", "snowflake")


@pytest.mark.parametrize("metric", SQL)
@pytest.mark.parametrize("name", WAREHOUSES)
def test_warehouse_answers_as_duckdb(setting: Setting, name: str, metric: str) -> None:
    asked = question(setting.lake, metric)
    expected = DuckDB(database=setting.database).ask(dg.build_asset_context(), asked).rows
    found = setting.ask(name, asked)
    assert found == expected
    assert [list(map(str, row)) for row in found] == [list(map(str, row)) for row in expected]
    assert len(found) > 1


def test_percent_sign_of_a_query_is_none_of_a_parameter(setting: Setting) -> None:
    asked = number(setting.lake, "SELECT 1 AS num_trips WHERE '%(a)s' LIKE '%' AND 3 = $remainder")
    assert in_pyformat(asked) == (
        "SELECT 1 AS num_trips WHERE '%%(a)s' LIKE '%%' AND 3 = %(remainder)s",
        {"remainder": "3"},
    )
    for name in WAREHOUSES:
        assert setting.ask(name, asked) == [(1,)]


@pytest.mark.parametrize("name", WAREHOUSES)
@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT 1 AS other WHERE '3' = $remainder", "the columns of the answer are other"),
        (
            "SELECT CAST(1.5 AS DOUBLE) AS num_trips WHERE '3' = $remainder",
            "floating-point numbers",
        ),
        ("SELECT 'many' AS num_trips WHERE '3' = $remainder", "row 1 of the answer, num_trips"),
        (
            "SELECT i AS num_trips FROM range(10001) AS n(i) WHERE '3' = $remainder",
            "over 10,000 rows",
        ),
    ],
)
def test_another_answer_fails(setting: Setting, name: str, sql: str, reason: str) -> None:
    with pytest.raises(NoAnswer, match=reason):
        setting.ask(name, number(setting.lake, sql))


@pytest.mark.parametrize("name", WAREHOUSES)
def test_failed_query_gives_the_reason(setting: Setting, name: str) -> None:
    asked = number(setting.lake, "SELECT COUNT(*) AS num_trips FROM tripz WHERE 3 = $remainder")
    with pytest.raises(Exception, match="Table with name tripz does not exist"):
        setting.ask(name, asked)


@pytest.mark.parametrize(
    ("name", "cancel"), [("snowflake", "abort 01bc-query"), ("redshift", "CANCEL 42")]
)
@pytest.mark.parametrize("error", [dg.DagsterExecutionInterruptedError(), OSError("no network")])
def test_any_error_cancels_the_query(
    setting: Setting, name: str, cancel: str, error: BaseException
) -> None:
    setting.driver.error = error
    with pytest.raises(type(error)):
        setting.ask(name, question(setting.lake, "trips_by_week"))
    assert cancel in setting.driver.statements
    assert setting.driver.statements[-1] == "closed"


def test_cancelled_run_cancels_the_job(setting: Setting) -> None:
    asked = number(setting.lake, ENDLESS)
    assert not cancel_while_asking(
        setting.engine("bigquery"), asked, lambda: "GET queries" in setting.service.calls
    )
    (job,) = setting.service.jobs.values()
    assert job.cancelled
    assert job.error == "Job was cancelled"


def test_bigquery_gets_typed_values_and_a_dataset(setting: Setting) -> None:
    answer = setting.engine("bigquery").ask(
        dg.build_asset_context(), question(setting.lake, "adhoc_request")
    )
    ((job_id, job),) = setting.service.jobs.items()
    assert {
        each["name"]: (each["parameterType"]["type"], each["parameterValue"]["value"])
        for each in job.query["queryParameters"]
    } == {
        "borough": ("STRING", "Manhattan"),
        "zone": ("STRING", "Governor's Island"),
        "start_date": ("DATE", "2023-01-01"),
        "end_date": ("DATE", "2023-02-12"),
    }
    assert job.query["defaultDataset"] == {"projectId": "taxis", "datasetId": "taxi"}
    assert job.query["useQueryCache"] is False
    assert answer.details == {
        "engine": "BigQuery",
        "query": dg.MetadataValue.url(
            "https://console.cloud.google.com/bigquery?project=taxis"
            f"&j=bq:EU:{job_id}&page=queryresults"
        ),
        "bytes scanned": dg.MetadataValue.int(1234),
    }


def test_snowflake_reads_the_logs_again_first(setting: Setting) -> None:
    setting.ask("snowflake", question(setting.lake, "manhattan_stats"))
    assert setting.driver.statements[:2] == [
        "ALTER ICEBERG TABLE trips REFRESH",
        "ALTER ICEBERG TABLE zones REFRESH",
    ]


def test_redshift_gets_the_files_of_the_question(setting: Setting) -> None:
    asked = question(setting.lake, "trips_by_week")
    before = setting.ask("redshift", asked)
    write_month(setting.lake, "2023-02-01", 20)
    later = question(setting.lake, "trips_by_week")
    assert setting.ask("redshift", asked) == before
    assert setting.ask("redshift", later) != before
    added = [text for text in setting.driver.statements if text.startswith("ALTER TABLE")]
    assert all("PARTITION (partition_date = '2023-02-01')" in text for text in added)
    assert setting.driver.statements[0] == "SET search_path TO taxi"


def by_duckdb(setting: Setting, asked: Question[Any]) -> list[Any]:
    return DuckDB(database=setting.database).ask(dg.build_asset_context(), asked).rows


@pytest.mark.parametrize("month", ["2023-02-01", "2023-03-01"], ids=["replaced", "new"])
def test_redshift_questions_do_not_read_the_files_of_others(setting: Setting, month: str) -> None:
    earlier = question(setting.lake, "manhattan_stats")
    expected = [by_duckdb(setting, earlier)]  # which reads the log
    write_month(setting.lake, month, 20)
    later = question(setting.lake, "manhattan_stats")
    expected.append(by_duckdb(setting, later))
    assert expected[0] != expected[1]
    answers: list[list[Any]] = []
    setting.driver.meanwhile = [lambda: answers.append(setting.ask("redshift", later))]
    answers.insert(0, setting.ask("redshift", earlier))
    assert answers == expected


def test_redshift_gives_up_where_others_replace_its_files(setting: Setting) -> None:
    earlier = question(setting.lake, "trips_by_week")
    expected = by_duckdb(setting, earlier)
    write_month(setting.lake, "2023-02-01", 20)
    later = setting.lake.snapshot()
    setting.driver.meanwhile = [lambda: write_manifests(later, TRIPS)] * 3
    with pytest.raises(NoAnswer, match="manifests that Redshift reads 3 times"):
        setting.ask("redshift", earlier)
    assert setting.ask("redshift", earlier) == expected


def test_redshift_questions_about_one_version_share_its_files(setting: Setting) -> None:
    asked = question(setting.lake, "trips_by_week")
    setting.driver.meanwhile = [lambda: setting.ask("redshift", asked)]
    setting.ask("redshift", asked)
    assert setting.driver.statements.count("SELECT pg_backend_pid()") == 2


def test_redshift_answers_from_an_earlier_version(setting: Setting) -> None:
    snapshot = setting.lake.snapshot((TRIPS, 1))
    asked = replace(question(setting.lake, "trips_by_week"), lake=snapshot)
    assert setting.ask("redshift", asked) == by_duckdb(setting, asked)
    assert by_duckdb(setting, asked) != by_duckdb(setting, question(setting.lake, "trips_by_week"))


@pytest.mark.parametrize("name", ["bigquery", "snowflake"])
def test_earlier_version_of_trips_is_refused(setting: Setting, name: str) -> None:
    asked = replace(question(setting.lake, "trips_by_week"), lake=setting.lake.snapshot((TRIPS, 1)))
    with pytest.raises(NoAnswer, match="reads the current version of trips; expected version 1"):
        setting.ask(name, asked)
    assert (setting.driver.statements, setting.service.calls) == ([], [])
