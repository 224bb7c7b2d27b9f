"""Shared by the code locations: asset keys, partitions, tables, files and how to reach them.

It defines nothing for Dagster: importing a module creates no asset, job or sensor.

`taxi_shared.connect("s3://bucket/prefix")` opens the lake in DuckDB, for a notebook.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxi_shared.connection import connect

__all__ = ["connect"]


def __getattr__(name: str) -> Any:
    """Import `connect` when it is asked for: most modules here need neither Dagster nor DuckDB."""
    if name != "connect":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taxi_shared.connection import connect

    return connect
