"""Engines outside the run's process, beside DuckDB in it."""

from collections.abc import Iterator

from bench.rows.row import Measured, Row, spread
from bench.scale import median


def engines(measured: Measured) -> Iterator[Row]:
    """Spark's time and DuckDB's for the same question on the same cores, by size of the lake."""
    m = measured["engines"]
    for size in m["sizes"]:
        for asset, seconds in size["spark"].items():
            duckdb = size["duckdb"][asset]
            yield Row(
                f"{asset}, {size['rows'] / 1e6:,.1f} M rows: {m['version']} ÷ DuckDB",
                "",
                f"{median(seconds) / median(duckdb):.1f}",
                f"{spread(seconds)} ÷ {spread(duckdb, 2)}",
                None,
            )
