"""I/O managers for results that are files: CSV by partition, GeoJSON, and PNG.

They write below the data root and show what they wrote on the asset's page. They need packages that
are no dependencies of `taxi_shared`: a code location has those of the I/O managers that it uses.

    PartitionedCsvIOManager   pandas.DataFrame            staging/<asset>/<partition>.csv and
                                                          outputs/<asset>.csv
    GeoJsonIOManager          geopandas.GeoDataFrame      staging/<asset>.geojson
    PngIOManager              matplotlib.figure.Figure    outputs/<asset>.png
"""

import base64
import csv
import io
import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import dagster as dg
from pydantic import Field
from upath import UPath

from taxi_shared import preview, storage
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.storage import DataRoot

# Dagster evaluates the annotations of an asset, so these names must exist when it loads. At run
# time they stand for anything: importing the packages takes longer than the rest of the start, and
# few processes draw a map.
if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure
    from pandas import DataFrame
else:
    DataFrame = GeoDataFrame = Figure = Any

__all__ = [
    "WGS_84",
    "DataFrame",
    "Figure",
    "FileIOManager",
    "GeoDataFrame",
    "GeoJsonIOManager",
    "PartitionedCsvIOManager",
    "PngIOManager",
    "assemble",
    "concatenate",
    "split_by_partition",
]

WGS_84 = "EPSG:4326"  # longitude and latitude in degrees
GEOJSON_MEMBERS = {"type", "features", "bbox", "crs"}
# By default a PNG names the version of matplotlib, and would change with it.
PNG_METADATA = {"Software": "matplotlib"}
CONCURRENT_FILES = 16


class FileIOManager(SetByEnvironment, dg.ConfigurableIOManager):
    """A base for results that are one file per asset, or per partition of an asset.

    The path is `<folder>/<asset><extension>`, or `<folder>/<asset>/<partition><extension>`.
    """

    folder: ClassVar[str]
    extension: ClassVar[str]

    data_root: str = Field(description="Folder or address of all files.")

    @abstractmethod
    def to_bytes(self, result: Any) -> bytes:
        """The content of the file."""

    @abstractmethod
    def from_bytes(self, content: bytes) -> Any:
        """What a downstream asset gets for the content of the file."""

    @abstractmethod
    def metadata(self, result: Any, content: bytes) -> Mapping[str, Any]:
        """What the asset's page shows beside the path and the size."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the file."""
        path, content = self._path(context), self.to_bytes(obj)
        storage.write_bytes(path, content)
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(str(path)),
                "bytes": len(content),
                **self.metadata(obj, content),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Raises FileNotFoundError if the asset was never materialized."""
        return self.from_bytes(storage.read_bytes(self._path(context)))

    def _path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        *folders, name = (quote(part, safe=" ") for part in context.get_asset_identifier())
        root = DataRoot.at(self.data_root).base / self.folder
        return root.joinpath(*folders, name + self.extension)


class GeoJsonIOManager(FileIOManager):
    """Stores GeoDataFrames in longitude and latitude as `staging/<asset>.geojson`.

    The `attrs` of a frame are members of the file beside its features (RFC 7946, section 6.1).
    """

    folder = "staging"
    extension = ".geojson"

    def to_bytes(self, result: GeoDataFrame) -> bytes:
        """One FeatureCollection."""
        return (json.dumps(result.attrs | result.to_geo_dict(drop_id=True)) + "\n").encode()

    def from_bytes(self, content: bytes) -> GeoDataFrame:
        """The frame with its `attrs`, without ids. Needs geopandas."""
        members = json.loads(content)
        geopandas = _import("geopandas", type(self))
        frame: GeoDataFrame = geopandas.GeoDataFrame.from_features(members["features"], crs=WGS_84)
        frame.attrs = {name: members[name] for name in members.keys() - GEOJSON_MEMBERS}
        return frame

    def metadata(self, result: GeoDataFrame, content: bytes) -> Mapping[str, Any]:
        """The `attrs` of the frame, its number of rows, and the first of them without geometry."""
        rows = _first_rows(result.drop(columns=result.geometry.name))
        return {**result.attrs, "dagster/row_count": len(result), "preview": rows}


class PngIOManager(FileIOManager):
    """Stores matplotlib's figures as `outputs/<asset>.png`; equal figures give equal bytes."""

    folder = "outputs"
    extension = ".png"

    def to_bytes(self, result: Figure) -> bytes:
        """The picture, without the version of matplotlib."""
        target = io.BytesIO()
        result.savefig(target, format="png", metadata=PNG_METADATA)
        return target.getvalue()

    def from_bytes(self, content: bytes) -> bytes:
        """The picture as it is in the file."""
        return content

    def metadata(self, result: Figure, content: bytes) -> Mapping[str, Any]:
        """The picture."""
        url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        return {"preview": dg.MetadataValue.md(f"![picture]({url})")}


class PartitionedCsvIOManager(SetByEnvironment, dg.ConfigurableIOManager):
    """Stores frames by partition, and all partitions as one CSV. Many runs may write at once.

    `staging/<asset>/<partition>.csv` has the rows of one partition and is replaced as a whole.
    `outputs/<asset>.csv` has the rows of all partitions that were ever stored, sorted by partition;
    it is assembled after every write.

    A frame may have rows of one partition or of a range. A partition of the run for which it has no
    rows has none afterwards.
    """

    data_root: str = Field(description="Folder or address of all files.")
    partition_column: str = Field(description="Holds the partition key of each row, as text.")

    def handle_output(self, context: dg.OutputContext, obj: DataFrame) -> None:
        """Raises ValueError for rows of partitions that are not part of the run."""
        folder, output = self._folder(context.asset_key), self._output(context.asset_key)
        parts = split_by_partition(obj, self.partition_column, context.asset_partition_keys)
        paths = [folder / _file_name(partition) for partition in parts]
        with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
            list(pool.map(storage.write_bytes, paths, parts.values()))
        assemble(folder, output)
        context.add_output_metadata(
            {"path": dg.MetadataValue.path(str(output)), "preview": _first_rows(obj)}
        )

    def load_input(self, context: dg.InputContext) -> DataFrame:
        """The rows of the input's partitions, or of all; integers, decimals and text.

        Needs pandas.
        """
        folder = self._folder(context.asset_key)
        if context.has_asset_partitions:
            paths = [folder / _file_name(key) for key in context.asset_partition_keys]
        else:
            paths = list(storage.versions_below(folder))
        rows = [row for part in _read_all(paths) for row in csv.DictReader(io.StringIO(part))]
        columns = rows[0] if rows else {}
        pandas = _import("pandas", type(self))
        frame: DataFrame = pandas.DataFrame(
            {name: [_parse(row[name]) for row in rows] for name in columns}
        )
        return frame

    def _folder(self, asset: dg.AssetKey) -> UPath:
        return DataRoot.at(self.data_root).staging.joinpath(*asset.path)

    def _output(self, asset: dg.AssetKey) -> UPath:
        *folders, name = asset.path
        return DataRoot.at(self.data_root).outputs.joinpath(*folders, f"{name}.csv")


def split_by_partition(
    frame: DataFrame, column: str, partitions: Iterable[str]
) -> dict[str, bytes]:
    """The CSV of each partition's rows; a partition without rows has the header only.

    Raises ValueError if `column` has another partition.
    """
    keys = frame[column].astype(str)
    parts = {partition: frame[keys == partition] for partition in partitions}
    if unexpected := sorted(set(keys) - set(parts)):
        raise ValueError(
            f"column {column} has {', '.join(unexpected)}; expected partitions of this run: "
            f"{', '.join(parts)}"
        )
    return {
        partition: rows.to_csv(index=False, lineterminator="\n").encode()
        for partition, rows in parts.items()
    }


def assemble(folder: UPath, output: UPath) -> None:
    """Replace the CSV `output` by the rows of all CSVs in a folder. Needs no lock.

    Each writer lists the folder again after it has written the output, and writes it again unless
    the listing is the one that it read: so the last writer leaves a complete file.
    """
    parts = storage.versions_below(folder)
    while True:
        storage.write_text(output, concatenate(_read_all(parts)))
        before, parts = parts, storage.versions_below(folder)
        if parts == before:
            return


def concatenate(parts: Iterable[str]) -> str:
    """The rows of several CSVs as one, with every column that any of them has."""
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


def _read_all(paths: Collection[UPath]) -> list[str]:
    if all(map(storage.is_local, paths)):  # threads would take turns, and five times as long
        return [storage.read_text(path) for path in paths]
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        return list(pool.map(storage.read_text, paths))


def _file_name(partition: str) -> str:
    return f"{quote(partition, safe=' ')}.csv"


def _parse(text: str) -> int | Decimal | str | None:
    for kind in (int, Decimal):
        try:
            return kind(text)
        except (ValueError, ArithmeticError):
            continue
    return text or None


def _first_rows(frame: DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows of a frame, and how many rows there are."""
    rows = [
        ["" if value is None else value for value in row]
        for row in frame.head(preview.ROWS).itertuples(index=False)
    ]
    return preview.first_rows(list(frame.columns), rows, len(frame))


def _import(package: str, io_manager: type) -> Any:
    """A package that the code location must have. Raises ModuleNotFoundError that says so."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{io_manager.__name__} needs {error.name}: add {package} to the dependencies of the "
            "code location",
            name=error.name,
        ) from error
