"""Which days a table's files have pickups on: an index, beside the files that count trips by day.

    staging/trip_days/_pickup_days.json

A file of a month has some trips of other days. A question about a week would else read the counts
of all months to find the files that it needs: of 204 in a bucket, some 400 requests. Files never
change, so an entry never does either; a file without one is read.
"""

from collections.abc import Collection
from datetime import date

import duckdb
from pydantic import TypeAdapter, ValidationError
from upath import UPath

from taxi_shared import storage
from taxi_shared.table_log import LakeFile

NAME = "_pickup_days.json"  # vacuum leaves names with an underscore alone

Ranges = list[tuple[date, date]]
"""First and last days without a gap between them."""

_INDEX = TypeAdapter(dict[str, Ranges])
_QUERY = """
    SELECT filename, min(pickup_date), max(pickup_date) FROM (
        SELECT filename, pickup_date, CAST(pickup_date - DATE '2000-01-01' AS INTEGER)
            - row_number() OVER (PARTITION BY filename ORDER BY pickup_date) AS gap
        FROM read_parquet($files, hive_partitioning = false, filename = true)
        WHERE pickup_date BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'
    ) GROUP BY filename, gap ORDER BY ALL
"""


def partitions_with_pickups(
    con: duckdb.DuckDBPyConnection,
    folder: UPath,
    files: Collection[LakeFile],
    days: tuple[date, date],
) -> set[str]:
    """Return the partitions with pickups on some days: the first, and the day after the last.

    folder: of a table of days
    files:  of that table

    Raises duckdb.Error where a file is damaged that the index does not have.
    """
    index = _read(folder, files)
    index |= _compute(con, [file for file in files if file.name not in index])
    first, end = days
    return {
        file.partition
        for file in files
        if any(begin < end and first <= last for begin, last in index[file.name])
    }


def update(con: duckdb.DuckDBPyConnection, folder: UPath, files: Collection[LakeFile]) -> None:
    """Write the index of these files, unless it is complete. Raises duckdb.Error, OSError."""
    index = _read(folder, files)
    if missing := [file for file in files if file.name not in index]:
        storage.write_bytes(folder / NAME, _INDEX.dump_json(index | _compute(con, missing)))


def _read(folder: UPath, files: Collection[LakeFile]) -> dict[str, Ranges]:
    """The entries of some files; none where there is no index yet, or it is damaged."""
    try:
        index = _INDEX.validate_json(storage.read_bytes(folder / NAME))
    except (FileNotFoundError, ValidationError):
        return {}
    return {file.name: index[file.name] for file in files if file.name in index}


def _compute(con: duckdb.DuckDBPyConnection, files: Collection[LakeFile]) -> dict[str, Ranges]:
    """The entries of files, by the counts in them. No request can have days of other years."""
    entries: dict[str, Ranges] = {file.name: [] for file in files}
    if files:
        paths = [storage.literal(file.address) for file in files]
        for path, first, last in con.execute(_QUERY, {"files": paths}).fetchall():
            entries["/".join(path.rsplit("/", 2)[1:])].append((first, last))
    return entries
