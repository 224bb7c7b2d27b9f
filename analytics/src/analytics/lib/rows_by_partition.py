"""One CSV with the rows of all partitions, written by many runs at once without a lock.

staging/trips_by_week/2019-01-06.csv    the rows of a partition, replaced as a whole
outputs/trips_by_week.csv               all of them, assembled after every write
"""

import csv
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import dagster as dg
from pydantic import Field
from upath import UPath

from analytics.lib.frames import DataFrame
from analytics.lib.preview import table
from taxi_shared import storage
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.storage import DataRoot

FILES_AT_ONCE = 16


class RowsByPartitionCsv(SetByEnvironment, dg.ConfigurableIOManager):
    """Stores a frame with rows of one partition or a range of them, by the partition column.

    `outputs/<asset>.csv` then holds the rows of every partition that was ever stored, sorted by
    partition. Storing a partition again replaces its rows; a partition without rows has none.
    """

    data_root: str = Field(description="Folder or s3:// address of all files.")
    partition_column: str = Field(description="Holds the partition key of each row, as text.")

    def handle_output(self, context: dg.OutputContext, obj: DataFrame) -> None:
        """Raises ValueError for rows of partitions that the run is not about."""
        folder, whole = self._folder(context.asset_key), self._whole(context.asset_key)
        parts = split(obj, self.partition_column, context.asset_partition_keys)
        paths = [folder / file_name(key) for key in parts]
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            list(pool.map(storage.write_bytes, paths, parts.values()))
        assemble(folder, whole)
        context.add_output_metadata(
            {"path": dg.MetadataValue.path(str(whole)), "preview": table(obj)}
        )

    def load_input(self, context: dg.InputContext) -> DataFrame:
        """The rows of the partitions asked for, or of all; whole numbers, decimals and text."""
        import pandas as pd

        folder = self._folder(context.asset_key)
        if context.has_asset_partitions:
            paths = [folder / file_name(key) for key in context.asset_partition_keys]
        else:
            paths = list(storage.versions_below(folder))
        rows = [row for content in read_all(paths) for row in csv.DictReader(io.StringIO(content))]
        columns = rows[0] if rows else {}
        return pd.DataFrame({name: [_value(row[name]) for row in rows] for name in columns})

    def _folder(self, asset: dg.AssetKey) -> UPath:
        return DataRoot.at(self.data_root).staging.joinpath(*asset.path)

    def _whole(self, asset: dg.AssetKey) -> UPath:
        *folders, last = asset.path
        return DataRoot.at(self.data_root).outputs.joinpath(*folders, f"{last}.csv")


def split(frame: DataFrame, column: str, partitions: Iterable[str]) -> dict[str, bytes]:
    """The CSV of each partition's rows, with a header also where it has no rows."""
    keys = frame[column].astype(str)
    parts = {key: frame[keys == key] for key in partitions}
    strangers = sorted(set(keys) - set(parts))
    if strangers:
        raise ValueError(
            f"column {column} has {', '.join(strangers)}; expected partitions of this run: "
            f"{', '.join(parts)}"
        )
    return {
        key: rows.to_csv(index=False, lineterminator="\n").encode() for key, rows in parts.items()
    }


def assemble(folder: UPath, whole: UPath) -> None:
    """Replace `whole` by the rows of all parts in a folder.

    The last writer leaves a complete file: it lists the parts again after writing, and writes again
    unless they are those that its file was made from. The writer of a later part does the same.
    """
    parts = storage.versions_below(folder)
    while True:
        storage.write_text(whole, concatenate(read_all(parts)))
        before, parts = parts, storage.versions_below(folder)
        if parts == before:
            return


def read_all(paths: Iterable[UPath]) -> list[str]:
    """The texts of files, in their order."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(storage.read_text, paths))


def concatenate(parts: Iterable[str]) -> str:
    """The rows of several CSVs as one; it has every column that any of them has."""
    rows: list[Mapping[str, str]] = []
    columns: dict[str, None] = {}
    for part in parts:
        reader = csv.DictReader(io.StringIO(part))
        columns |= dict.fromkeys(reader.fieldnames or ())
        rows += reader
    target = io.StringIO()
    writer = csv.DictWriter(target, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def file_name(partition: str) -> str:
    """The file name of a partition's rows."""
    return f"{quote(partition, safe=' ')}.csv"


def _value(text: str) -> Any:
    for kind in (int, Decimal):
        try:
            return kind(text)
        except (ValueError, ArithmeticError):
            continue
    return text or None
