"""The SQL of the metrics means the same in the dialect of every engine, as sqlglot reads it."""

import runpy
from collections.abc import Mapping
from typing import Any

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


def _measures() -> Mapping[str, Any]:
    """The measures of reports, from the file: the environment of the host has no location."""
    path = REPOSITORY / "adhoc_reports/src/adhoc_reports/lib/measures.py"
    found: Mapping[str, Any] = runpy.run_path(str(path), run_name="measures")["MEASURES"]
    return found


MEASURES = _measures()
REPORT_SQL = (REPOSITORY / "adhoc_reports/src/adhoc_reports/sql/measured_trips.sql").read_text()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("measure", list(MEASURES))
def test_sql_of_a_measure_is_that_of_every_engine(measure: str, dialect: str) -> None:
    zone = "COALESCE(trips.dropoff_zone_id, 264)"
    sql = REPORT_SQL.format(
        keys=f"trips.pickup_date AS pickup_date, {zone} AS dropoff_zone",
        group_by=f"trips.pickup_date, {zone}",
        order_by="num_trips DESC, pickup_date, dropoff_zone LIMIT 20",
        side="pickup",
        trips="green_trips",
        days="green_trip_days",
        **MEASURES[measure].sql(),
    )
    for parameter, value in VALUES.items():
        sql = sql.replace(parameter, value)
    assert "{" not in sql
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
