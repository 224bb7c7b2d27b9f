"""Shapes of taxi zones on a grid: small enough for an outcome, and ready to be drawn.

A shape is the path of an SVG: `M` and the corners of each ring as `x,y`, in steps of the grid, with
y from the top. The longer side of all shapes together has `STEPS`: some 100 m for the whole city.
"""

import re
from collections.abc import Mapping
from math import cos, radians
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.patches import PathPatch

STEPS = 500
CORNERS = 3  # of a triangle
_RING = re.compile(r"\(([-\d., eE]+)\)")

Ring = list[tuple[float, float]]


def on_grid(shapes: Mapping[int, str]) -> dict[str, str]:
    """The paths of shapes given as WKT (POLYGON or MULTIPOLYGON, longitude and latitude)."""
    rings = {zone: _rings(wkt) for zone, wkt in shapes.items()}
    corners = [corner for found in rings.values() for ring in found for corner in ring]
    if not corners:
        return {}
    west, south = (min(corner[axis] for corner in corners) for axis in (0, 1))
    east, north = (max(corner[axis] for corner in corners) for axis in (0, 1))
    # A degree of longitude is shorter than one of latitude.
    narrow = cos(radians((south + north) / 2))
    step = max((east - west) * narrow, north - south) / STEPS or 1
    return {
        str(zone): "".join(
            _path([(round((x - west) * narrow / step), round((north - y) / step)) for x, y in ring])
            for ring in found
        )
        for zone, found in rings.items()
    }


def corners_of(path: str) -> list[Ring]:
    """The rings of a path."""
    return [
        [(float(x), float(y)) for x, y in (corner.split(",") for corner in ring.split())]
        for ring in path.removeprefix("M").removesuffix("Z").split("ZM")
        if ring
    ]


def middle_of(path: str) -> tuple[float, float]:
    """The middle of the largest ring of a path."""
    ring = max(corners_of(path), key=lambda ring: abs(_area(ring)[0]))
    area, x, y = _area(ring)
    if not area:
        return ring[0]
    return x / (3 * area), y / (3 * area)


def patch(path: str) -> "PathPatch":
    """A path as a patch of matplotlib, with its holes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    rings = [Path([*ring, ring[0]], closed=True) for ring in corners_of(path)]
    return PathPatch(Path.make_compound_path(*rings))


def _rings(wkt: str) -> list[Ring]:
    return [
        [(float(x), float(y)) for x, y, *_ in map(str.split, ring.split(","))]
        for ring in _RING.findall(wkt)
    ]


def _path(corners: list[tuple[int, int]]) -> str:
    """A ring without corners that fall together; empty where less than a triangle is left."""
    distinct = [c for i, c in enumerate(corners) if i == 0 or c != corners[i - 1]]
    if len(set(distinct)) < CORNERS:
        return ""
    return f"M{' '.join(f'{x},{y}' for x, y in distinct)}Z"


def _area(ring: Ring) -> tuple[float, float, float]:
    """Twice the area of a ring over two, and its moments."""
    area = x = y = 0.0
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        cross = x0 * y1 - x1 * y0
        area, x, y = area + cross, x + (x0 + x1) * cross, y + (y0 + y1) * cross
    return area, x, y
