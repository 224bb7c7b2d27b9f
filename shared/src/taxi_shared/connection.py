"""The lake's tables for people who have a notebook: `taxi_shared.connect`."""

from pathlib import Path

import duckdb

from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES


def connect(data_root: str | Path) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with the lake's tables as views: `trips`, `zones`, and so on.

    They show the lake of this moment; connect again to see newer months. Columns and units are
    listed in docs/reference/columns.md.

    Args:
        data_root: a folder, or an address such as `s3://bucket/prefix`. Keys are found as by the
            store's own tools.

    Raises:
        FileNotFoundError: no table is there.
        ValueError: no store has such an address.
    """
    lake = Lake(DataRoot.at(str(data_root)))
    snapshot = lake.snapshot()
    if not any(map(snapshot.files, TABLES)):
        raise FileNotFoundError(
            f"{data_root} has no tables; expected the platform's TAXI_DATA_ROOT, whose folder "
            "`staging` has the lake"
        )
    con = duckdb.connect()
    lake.root.attach(con)
    snapshot.create_views(con)
    return con
