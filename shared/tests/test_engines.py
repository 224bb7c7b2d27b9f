"""Questions and answers, and the choice of an engine."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import duckdb
import pytest
from pydantic import Field

from taxi_shared.database import LakeDatabase
from taxi_shared.engines import MAX_ROWS, Engine, Hundredths, NoAnswer, Question, local
from taxi_shared.engines.choice import (
    ASSETS,
    ENGINES,
    engine,
    engines_of,
    kind_of,
    settings_of,
    variable,
)
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.spark import SparkSubmit, to_message
from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS, ZONES
from taxi_testing.lakes import Month

ROOT = Path(__file__).parents[2]
QUERY = """
-- $comment: what a parameter is. It's no string.
SELECT week_start AS period, SUM(total_amount) AS total, '$5 off' AS label
FROM trips WHERE week_start >= $first AND label <> $name AND week_start < $first
"""


class Week(NamedTuple):
    period: date
    total: Hundredths | None
    label: str


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(DataRoot.at(str(tmp_path)))
    for month, amount in (("2023-01-01", "1.10"), ("2023-02-01", "2.25")):
        trips = (
            f"SELECT TIMESTAMP '{month} 10:00:00' AS pickup_datetime, DATE '{month}' AS "
            f"pickup_date, DATE '2023-01-01' AS week_start, "
            f"CAST('{amount}' AS DECIMAL(12,2)) AS total_amount"
        )
        with duckdb.connect() as con:
            Month(month, Rows(trips)).write(con, lake)
    return lake


def ask(lake: Lake, sql: str = QUERY, **parameters: str | date) -> Question[Week]:
    values = parameters or {"first": date(2023, 1, 1), "name": "O'Hare"}
    return Question("weeks", sql, Week, lake.snapshot(), [TRIPS], values)


def test_parameters_take_the_placeholders_of_an_engine(lake: Lake) -> None:
    sql, values = ask(lake).rewrite(lambda _: "?")
    assert sql == (
        "SELECT week_start AS period, SUM(total_amount) AS total, '$5 off' AS label\n"
        "FROM trips WHERE week_start >= ? AND label <> ? AND week_start < ?"
    )
    assert values == [date(2023, 1, 1), "O'Hare", date(2023, 1, 1)]


def test_text_of_any_engine_becomes_typed_rows(lake: Lake) -> None:
    values: list[list[object]] = [
        ["2023-01-01", "1.1", "a"],
        [date(2023, 1, 8), Decimal(5), "b"],
        ["2023-01-15", None, ""],
    ]
    rows = ask(lake).rows(["PERIOD", "Total", "label"], values)
    assert rows == [
        Week(date(2023, 1, 1), Decimal("1.10"), "a"),
        Week(date(2023, 1, 8), Decimal("5.00"), "b"),
        Week(date(2023, 1, 15), None, ""),
    ]
    assert [str(row.total) for row in rows] == ["1.10", "5.00", "None"]


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (["period", "total"], ["2023-01-01", "1"], "the columns of the answer are period, total"),
        ([], [], "the columns of the answer are missing"),
        (["period", "total", "label"], ["2023-01-01", 1.5, "a"], "floating-point numbers"),
        (["period", "total", "label"], ["2023-01-01", "1.005", "a"], "at most two decimal places"),
        (
            ["period", "total", "label"],
            ["tomorrow", "1", "a"],
            "row 1 of the answer, period",
        ),
        (
            ["period", "total", "label"],
            ["2023-01-01", "1", None],
            "row 1 of the answer, label",
        ),
    ],
)
def test_answer_of_another_shape_is_refused(
    lake: Lake, columns: list[str], row: list[Any], reason: str
) -> None:
    with pytest.raises(NoAnswer, match=f"weeks: .*{reason}"):
        ask(lake).rows(columns, [row])


def test_answer_with_too_many_rows_is_refused(lake: Lake) -> None:
    rows = [["2023-01-01", "1", "a"]] * (MAX_ROWS + 1)
    assert len(ask(lake).rows(Week._fields, rows[1:])) == MAX_ROWS
    with pytest.raises(NoAnswer, match="over 10,000 rows"):
        ask(lake).rows(Week._fields, rows)


SUMS = (
    "SELECT week_start AS period, SUM(total_amount) AS total, $name AS label FROM trips "
    "WHERE week_start >= $first GROUP BY week_start"
)


def test_duckdb_answers_from_the_lake(lake: Lake) -> None:
    database = LakeDatabase(data_root=str(lake.root.base))
    answer = DuckDB(database=database).ask(dg.build_asset_context(), ask(lake, SUMS))
    assert answer.rows == [Week(date(2023, 1, 1), Decimal("3.35"), "O'Hare")]
    assert answer.details == {"engine": f"DuckDB {duckdb.__version__}"}


def test_answer_is_of_the_moment_of_the_question(lake: Lake) -> None:
    database, asked = LakeDatabase(data_root=str(lake.root.base)), ask(lake, SUMS)
    assert set(asked.lake.files(TRIPS)) == {"2023-01-01", "2023-02-01"}
    before = DuckDB(database=database).ask(dg.build_asset_context(), asked).rows
    with duckdb.connect() as con:
        empty = "SELECT * FROM read_parquet($file) WHERE false"
        file = lake.snapshot().files(TRIPS)["2023-02-01"].address
        Month("2023-02-01", Rows(empty, {"file": file})).write(con, lake)
    assert DuckDB(database=database).ask(dg.build_asset_context(), asked).rows == before


def test_question_for_spark_names_files_types_and_values(lake: Lake) -> None:
    asked = ask(lake, SUMS)
    files = [(table, asked.lake.files_on(duckdb.connect(), table)) for table in (TRIPS, ZONES)]
    message = to_message(asked, files, "s3a")
    assert ":first" in message["sql"]
    assert "$" not in message["sql"]
    assert message["parameters"]["first"] == {"kind": "date", "value": "2023-01-01"}
    trips, zones = message["tables"]
    assert [file.rpartition("/")[0] for file in trips["files"]] == [
        f"{trips['folder']}/partition_date=2023-01-01",
        f"{trips['folder']}/partition_date=2023-02-01",
    ]
    assert "pickup_datetime TIMESTAMP_NTZ" in trips["schema"]
    assert trips["schema"].endswith("partition_date DATE")
    assert zones["files"] == []


def test_days_leave_out_files_without_their_pickups(lake: Lake) -> None:
    database = LakeDatabase(data_root=str(lake.root.base))
    days = date(2023, 2, 1), date(2023, 2, 2)
    asked = Question("weeks", SUMS, Week, lake.snapshot(), [TRIPS], {}, days)
    with database.get_connection(tables=[]) as con:
        ((table, files),) = asked.files(con)
    assert (table, [file.partition for file in files]) == (TRIPS, ["2023-02-01"])


@pytest.fixture
def database(tmp_path: Path) -> LakeDatabase:
    return LakeDatabase(data_root=str(tmp_path))


def test_duckdb_answers_unless_another_engine_is_chosen(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {type(each) for each in engines_of(database, "a", "b").values()} == {DuckDB}
    monkeypatch.setenv("TAXI_ENGINE", "b = spark-submit")
    chosen = engines_of(database, "a", "b")
    assert {name: type(each).__name__ for name, each in chosen.items()} == {
        "a_engine": "DuckDB",
        "b_engine": "SparkSubmit",
    }
    monkeypatch.setenv("TAXI_ENGINE", "spark-submit, a=duckdb")
    chosen = engines_of(database, "a", "b")
    assert type(chosen["a_engine"]).__name__ == "DuckDB"
    assert type(chosen["b_engine"]).__name__ == "SparkSubmit"


def test_unknown_engine_is_refused(database: LakeDatabase) -> None:
    with pytest.raises(ValueError, match="TAXI_ENGINE names 'sparc'; expected one of duckdb, "):
        engine("sparc", database)


@pytest.mark.parametrize("text", ["trips_by_weak=spark-submit", "spark-submit,c=duckdb"])
def test_unknown_asset_is_refused(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TAXI_ENGINE", text)
    reason = (
        "TAXI_ENGINE names the asset '.*'; expected one of a, b, trips_by_week, manhattan_stats"
    )
    with pytest.raises(ValueError, match=reason):
        engines_of(database, "a", "b")


def test_asset_of_another_location_is_accepted(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_ENGINE", "adhoc_request=athena,trips_by_week=spark-submit")
    (chosen,) = engines_of(database, "trips_by_week").values()
    assert isinstance(chosen, SparkSubmit)


def test_kind_of_an_asset_is_that_of_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind_of("trips_by_week") == "duckdb"
    monkeypatch.setenv("TAXI_ENGINE", "glue, manhattan_stats=athena")
    assert [kind_of(asset) for asset in ASSETS] == ["spark", "athena", "spark"]


def test_missing_setting_of_an_engine_is_named(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Remote(DuckDB):
        workgroup: str = Field(description="where queries are paid")

    monkeypatch.setattr(local, "Remote", Remote, raising=False)
    monkeypatch.setitem(ENGINES, "remote", "local.Remote")
    with pytest.raises(ValueError, match="TAXI_REMOTE_WORKGROUP is not set: where queries are"):
        engine("remote", database)


@pytest.mark.parametrize(
    ("name", "root", "expected"),
    [
        *(
            (name, root, "s3://bucket/prefix")
            for name in ("athena", "emr", "emr-serverless", "glue", "redshift")
            for root in ("gs://b/p", "data", "/srv/taxi")
        ),
        *(
            (name, root, "s3://bucket/prefix or gs://bucket/prefix")
            for name in ("dataproc", "databricks")
            for root in ("az://c/p", "data")
        ),
        *(
            (
                name,
                "data",
                "s3://bucket/prefix or gs://bucket/prefix or az://container/prefix or .*",
            )
            for name in ("bigquery", "snowflake")
        ),
    ],
)
def test_engine_refuses_a_data_root_in_another_store(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch, name: str, root: str, expected: str
) -> None:
    monkeypatch.setenv("TAXI_DATA_ROOT", root)
    with pytest.raises(
        ValueError,
        match=f"TAXI_ENGINE is {name}, and .*'{root}', .* expected {expected}. Set TAXI_",
    ):
        engine(name, database)


@pytest.mark.parametrize(
    ("name", "root"),
    [
        *(
            (name, root)
            for name in ("duckdb", "spark-submit", "bigquery", "snowflake")
            for root in ("gs://b/p", "abfss://c@a.dfs.core.windows.net/p")
        ),
        ("duckdb", "data"),
        ("spark-submit", "/srv/taxi"),
        ("athena", "s3://b/p"),
    ],
)
def test_engine_accepts_any_store_that_it_reads(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch, name: str, root: str
) -> None:
    monkeypatch.setenv("TAXI_DATA_ROOT", root)
    assert engine(name, database)


def test_settings_of_an_engine_are_variables(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_SPARK_SUBMIT_MASTER", "spark://cluster:7077")
    found = engine("spark-submit", database)
    assert variable("spark-submit", "master") == "TAXI_SPARK_SUBMIT_MASTER"
    assert found.model_dump()["master"] == dg.EnvVar("TAXI_SPARK_SUBMIT_MASTER")


def test_run_config_cannot_set_an_engine(lake: Lake, tmp_path: Path) -> None:
    @dg.op
    def ask_spark(context: dg.OpExecutionContext, engine: dg.ResourceParam[Engine]) -> None:
        engine.ask(context, ask(lake))  # type: ignore[arg-type] # Pipes takes both

    spark = SparkSubmit(database=LakeDatabase(data_root=str(tmp_path)))

    @dg.job(resource_defs={"engine": spark.get_resource_definition()})
    def job() -> None:
        ask_spark()

    command = {"resources": {"engine": {"config": {"command": f"touch {tmp_path / 'evil'}"}}}}
    with pytest.raises(dg.DagsterResourceFunctionError) as refused:
        job.execute_in_process(command)
    assert "cannot set resources.engine.config.command" in str(refused.value.__cause__)


@pytest.mark.parametrize("name", ENGINES)
def test_every_setting_of_an_engine_is_documented(name: str) -> None:
    text = (ROOT / "docs" / "engines.md").read_text()
    settings = [variable(name, field) for field in settings_of(name)]
    assert [each for each in settings if f"`{each}`" not in text] == []
    assert f"`{name}`" in text
