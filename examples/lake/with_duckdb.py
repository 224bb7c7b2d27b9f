# /// script
# requires-python = ">=3.11"
# dependencies = ["duckdb>=1.5,<2"]
# ///
"""Trips per month, by DuckDB's extension for Delta Lake, which it downloads at its first use."""

import sys

import duckdb

con = duckdb.connect()
con.execute("INSTALL delta; LOAD delta")
con.sql(
    "SELECT partition_date, count(*) AS num_trips FROM delta_scan($table) "
    "GROUP BY ALL ORDER BY ALL",
    params={"table": sys.argv[1]},
).show()
