"""What runs of all locations import late: `taxi_shared.warm_runs` imports it before the first."""

import dagster as dg
import deltalake  # noqa: F401
import duckdb

import taxi_shared.engines
import taxi_shared.process
import taxi_shared.table_log  # noqa: F401

# DuckDB imports pandas, where it is installed, with the first value that a query gets. It opens a
# connection when it is imported, whose threads a fork would lose.
duckdb.execute("SELECT ?", [1])
duckdb.default_connection().close()

# Alembic reads the revisions of Dagster's schema.
with dg.DagsterInstance.ephemeral():
    pass
