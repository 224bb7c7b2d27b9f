"""The types that assets hand to each other, for annotations alone.

Dagster evaluates the annotations of an asset, so they must exist when it loads. The type checker
sees the classes; at run time they stand for anything, because importing them takes a process longer
than all the rest, and few processes ever draw a map.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure
    from pandas import DataFrame
else:
    DataFrame = GeoDataFrame = Figure = Any

__all__ = ["DataFrame", "Figure", "GeoDataFrame"]
