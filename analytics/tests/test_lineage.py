"""The lineage that assets declare is the one that their SQL has, as sqlglot reads it."""

from collections.abc import Mapping

import dagster as dg
import pytest
from sqlglot import exp
from sqlglot.lineage import lineage

from analytics.defs import manhattan, weekly
from taxi_shared import keys
from taxi_shared.tables import TRIPS, ZONES

TABLES = {
    table.name: {column.name: column.type for column in table.all_columns}
    for table in (TRIPS, ZONES)
}


def origins(query: str, column: str) -> set[tuple[str, str]]:
    """Tables and columns from which a column of a query comes."""
    nodes = lineage(column, query, schema=TABLES, dialect="duckdb").walk()
    return {
        (node.source.name, exp.to_column(node.name).name)
        for node in nodes
        if isinstance(node.source, exp.Table)
    }


def declared(found: dg.TableColumnLineage) -> Mapping[str, set[tuple[str, str]]]:
    names = {keys.TAXI_TRIPS: "trips", keys.TAXI_ZONES: "zones"}
    return {
        column: {(names[dep.asset_key], dep.column_name) for dep in deps}
        for column, deps in found.deps_by_column.items()
    }


@pytest.mark.parametrize("column", [column.name for column in weekly.SCHEMA.columns])
def test_lineage_of_trips_by_week_is_that_of_its_query(column: str) -> None:
    assert declared(weekly.LINEAGE)[column] == origins(weekly.QUERY, column)


@pytest.mark.parametrize("column", [column.name for column in manhattan.SCHEMA.columns])
def test_lineage_of_manhattan_stats_is_that_of_its_query(column: str) -> None:
    # A count comes from the columns that the tables are joined by, too.
    joined_by = {("zones", "zone_id")} if column == "num_trips" else set()
    assert declared(manhattan.LINEAGE)[column] == origins(manhattan.QUERY, column) | joined_by
