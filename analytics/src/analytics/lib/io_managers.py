"""I/O managers for what the location's assets hand to each other and to people.

They read and write below the data root, and show what they wrote on the asset's page.
"""

import json
from typing import Any

import dagster as dg
from pydantic import Field
from upath import UPath

from analytics.lib import preview
from analytics.lib.frames import Figure, GeoDataFrame
from taxi_shared import storage
from taxi_shared.database import LakeDatabase
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TABLES

LONGITUDE_LATITUDE = "EPSG:4326"
GEOJSON_MEMBERS = {"type", "features", "bbox", "crs"}
# By default the file would name the version of the drawing library, and the picture change with it.
PNG_METADATA = {"Software": "matplotlib"}


class LakeShapes(SetByEnvironment, dg.ConfigurableIOManager):
    """Loads a table of the lake, named as its asset's input says, with its shapes."""

    data_root: str = Field(description="Folder or s3:// address of all files.")

    def load_input(self, context: dg.InputContext) -> GeoDataFrame:
        """The rows of the table in `metadata["table"]`, sorted; its column `geometry` is WKT.

        Raises ValueError if the table is empty.
        """
        import geopandas
        import pandas

        table = (context.definition_metadata or {})["table"]
        database = LakeDatabase(data_root=self.data_root)
        with database.get_connection(tables=[t for t in TABLES if t.name == table]) as con:
            found = con.table(table).order("ALL")
            frame = pandas.DataFrame(found.fetchall(), columns=found.columns)
        if frame.empty:
            raise ValueError(
                f"table {table} in {self.data_root} is empty: "
                f"materialize {context.asset_key.to_user_string()} first"
            )
        shapes = geopandas.GeoSeries.from_wkt(frame["geometry"], crs=LONGITUDE_LATITUDE)
        return geopandas.GeoDataFrame(frame.assign(geometry=shapes))

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError("tables of the lake are written by taxi_shared.lake.Lake")


class _Files(dg.UPathIOManager):
    """Results as one file each, `<folder>/<asset><extension>`."""

    def make_directory(self, path: UPath) -> None:
        """Nothing: writing a file makes its folder."""


class GeoJsonFiles(_Files):
    """GeoDataFrames in longitude and latitude.

    A frame's `attrs` are members of the file beside its features (RFC 7946, section 6.1).
    """

    extension = ".geojson"

    def dump_to_path(self, context: dg.OutputContext, obj: GeoDataFrame, path: UPath) -> None:
        storage.write_text(path, json.dumps(obj.attrs | obj.to_geo_dict(drop_id=True)) + "\n")

    def load_from_path(self, context: dg.InputContext, path: UPath) -> GeoDataFrame:
        import geopandas

        content = json.loads(storage.read_bytes(path))
        features = content["features"]
        frame = geopandas.GeoDataFrame.from_features(features, crs=LONGITUDE_LATITUDE)
        frame.attrs = {name: content[name] for name in content.keys() - GEOJSON_MEMBERS}
        return frame

    def get_metadata(self, context: dg.OutputContext, obj: GeoDataFrame) -> dict[str, Any]:
        return {
            **obj.attrs,
            "dagster/row_count": len(obj),
            "bytes": self._get_path(context).stat().st_size,
            "preview": preview.table(obj.drop(columns="geometry")),
        }


class PngFiles(_Files):
    """Figures; equal figures give equal bytes."""

    extension = ".png"

    def dump_to_path(self, context: dg.OutputContext, obj: Figure, path: UPath) -> None:
        with storage.atomic_open(path) as file:
            obj.savefig(file, format="png", metadata=PNG_METADATA)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> bytes:
        """The picture as it is in the file."""
        return storage.read_bytes(path)

    def get_metadata(self, context: dg.OutputContext, obj: Figure) -> dict[str, Any]:
        png = storage.read_bytes(self._get_path(context))
        return {"bytes": len(png), "preview": preview.picture(png)}


class GeoJson(SetByEnvironment, dg.ConfigurableIOManagerFactory[GeoJsonFiles]):
    """`staging/<asset>.geojson`."""

    data_root: str = Field(description="Folder or s3:// address of all files.")

    def create_io_manager(self, context: dg.InitResourceContext) -> GeoJsonFiles:
        return GeoJsonFiles(DataRoot.at(self.data_root).staging)


class Png(SetByEnvironment, dg.ConfigurableIOManagerFactory[PngFiles]):
    """`outputs/<asset>.png`."""

    data_root: str = Field(description="Folder or s3:// address of all files.")

    def create_io_manager(self, context: dg.InitResourceContext) -> PngFiles:
        return PngFiles(DataRoot.at(self.data_root).outputs)
