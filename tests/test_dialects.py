"""The SQL of the metrics means the same in the dialect of every engine, as sqlglot reads it."""

import pytest
import sqlglot
from sqlglot import exp

from taxi_testing.questions import REPOSITORY, SQL

DIALECTS = (
    "duckdb",
    "spark",
    "databricks",
    "athena",
    "trino",
    "redshift",
    "snowflake",
    "bigquery",
)
# Engines write parameters differently; a value in their place is of no dialect.
VALUES = {
    "$start_date": "'2023-01-01'",
    "$end_date": "'2023-02-01'",
    "$zone": "'a'",
    "$borough": "'b'",
}


def translate(sql: str, dialect: str) -> tuple[str, str]:
    """DuckDB's SQL as a dialect reads it, and as sqlglot translates it for the dialect."""
    translated = sqlglot.transpile(sql, read="duckdb", write=dialect)[0]
    return normalize(sql, dialect), normalize(translated, dialect)


def normalize(sql: str, dialect: str) -> str:
    """The same SQL without comments, and without where NULLs are in an order."""
    tree = sqlglot.parse_one(sql, dialect=dialect)
    for ordered in tree.find_all(exp.Ordered):
        ordered.set("nulls_first", None)
    return tree.sql(dialect=dialect, comments=False)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("metric", SQL)
def test_sql_of_a_metric_is_that_of_every_engine(metric: str, dialect: str) -> None:
    sql = (REPOSITORY / SQL[metric]).read_text()
    for parameter, value in VALUES.items():
        sql = sql.replace(parameter, value)
    assert "$" not in "".join(line for line in sql.splitlines() if not line.startswith("--"))
    read, translated = translate(sql, dialect)
    assert read == translated


@pytest.mark.parametrize("dialect", [each for each in DIALECTS if each != "duckdb"])
def test_function_of_duckdb_alone_is_found(dialect: str) -> None:
    read, translated = translate(
        "SELECT list_contains(months, '2023') AS found FROM trips", dialect
    )
    assert read != translated


@pytest.mark.parametrize("metric", SQL)
def test_null_is_in_no_order_of_a_metric(metric: str) -> None:
    # Engines place NULL differently: a metric is ordered by columns without it, or not by engines.
    tree = sqlglot.parse_one((REPOSITORY / SQL[metric]).read_text(), dialect="duckdb")
    ordered = {each.this.name for each in tree.find_all(exp.Ordered)}
    assert ordered <= {"week_start", "zone_id", "hour_of_day", "day_of_week"}
