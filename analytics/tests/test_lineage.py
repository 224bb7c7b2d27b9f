"""The lineage that assets declare is the one that their SQL has, as sqlglot reads it."""

from collections.abc import Mapping

import dagster as dg
import pytest
from sqlglot import exp
from sqlglot.lineage import lineage

from analytics.defs import manhattan, weekly
from taxi_shared import keys
from taxi_shared.tables import TRIPS

TABLES = {"trips": {column.name: column.type for column in TRIPS.all_columns}}


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
def test_the_columns_of_trips_by_week(column: str) -> None:
    assert declared(weekly.LINEAGE)[column] == origins(weekly.QUERY, column)


def test_the_columns_of_manhattan_stats() -> None:
    assert set(manhattan.LINEAGE.deps_by_column) == {c.name for c in manhattan.SCHEMA.columns}
    joined_by = origins(manhattan.QUERY, "zone_id") | {("zones", "zone_id")}
    counted = origins(manhattan.QUERY, "num_trips")
    assert declared(manhattan.LINEAGE)["num_trips"] == joined_by | counted
