import io
import subprocess
import sys
from math import cos, radians

import geopandas
import pytest
import shapely
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from small_lake import square

from analytics.lib import zone_map
from analytics.lib.io_managers import PNG_METADATA


def zones(*trips: int) -> geopandas.GeoDataFrame:
    """Squares from south to north, the last one north of the map."""
    souths = (40.72, 40.75, 40.78, 40.85)
    return geopandas.GeoDataFrame(
        {"zone": ["South", "Mid", "Up", "Inwood"], "borough": "Manhattan", "num_trips": trips},
        geometry=[shapely.from_wkt(square(-73.98, south)) for south in souths],
        crs="EPSG:4326",
    )


@pytest.fixture
def figure() -> Figure:
    return zone_map.draw(zones(1_500_000, 0, 250_000, 12), "Trips in Manhattan")


def texts(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [found.get_text() for found in figure.findobj(lambda a: hasattr(a, "get_text"))]


def png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata=PNG_METADATA)
    return target.getvalue()


def test_the_map_shows_the_extent_asked_for(figure: Figure) -> None:
    axes = figure.axes[0]
    assert axes.get_xlim() == (-74.05, -73.90)
    assert axes.get_ylim() == (40.70, 40.82)


def test_a_mile_north_is_as_long_as_a_mile_east(figure: Figure) -> None:
    assert figure.axes[0].get_aspect() == pytest.approx(1 / cos(radians(40.76)))


def test_the_map_has_title_number_of_trips_and_a_legend_that_names_the_scale(
    figure: Figure,
) -> None:
    found = texts(figure)
    assert "Trips in Manhattan" in found
    assert any("1,750,012 trips by zone of pickup" in text for text in found)
    assert "Trips per zone\n(linear scale)" in found
    assert "no trips" in found
    (bar,) = figure.axes[0].child_axes
    ticks = [label.get_text() for label in bar.get_yticklabels()]
    assert ticks[0] == "0"
    assert ticks[-1] == "1,500,000"


def test_trips_in_zones_outside_the_map_are_told(figure: Figure) -> None:
    assert any("12 of the trips in 1 of the zones outside" in text for text in texts(figure))


def test_colours_are_plasma_from_zero_and_grey_for_a_zone_without_trips(figure: Figure) -> None:
    from matplotlib import colormaps

    (drawn,) = figure.axes[0].collections
    colours = [to_hex(colour) for colour in drawn.get_facecolor()]
    plasma = colormaps["plasma"]
    assert colours[0] == to_hex(plasma(1.0))
    assert colours[1] == zone_map.NO_TRIPS
    assert colours[2] == to_hex(plasma(250_000 / 1_500_000))


def test_the_same_zones_give_the_same_bytes_in_another_process(tmp_path) -> None:
    table = tmp_path / "zones.geojson"
    table.write_text(zones(3, 0, 2, 1).to_json())
    script = (
        "import geopandas, io, sys, hashlib; from analytics.lib import zone_map; "
        f"zones = geopandas.read_file({str(table)!r}); target = io.BytesIO(); "
        "zone_map.draw(zones, 'Trips').savefig(target, metadata={'Software': 'matplotlib'}); "
        "print(hashlib.sha256(target.getvalue()).hexdigest(), 'matplotlib.pyplot' in sys.modules)"
    )
    run = [sys.executable, "-c", script]
    first, second = (subprocess.run(run, capture_output=True, text=True).stdout for _ in "ab")
    assert first == second
    assert first.split()[1] == "False", "pyplot keeps global state, which threads would share"


def test_no_version_of_the_drawing_library_is_in_the_file(figure: Figure) -> None:
    import matplotlib

    assert matplotlib.__version__.encode() not in png(figure)


def test_zones_without_any_trips_and_without_shapes_can_be_drawn() -> None:
    empty = zones(0, 0, 0, 0)
    empty.loc[0, "geometry"] = None
    assert png(zone_map.draw(empty, "Nothing yet")).startswith(b"\x89PNG")
