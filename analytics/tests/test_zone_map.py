"""The map of zones shows their trips, and says what it does not show."""

import io
import subprocess
import sys
from math import cos, radians
from pathlib import Path

import geopandas
import pytest
import shapely
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text
from small_lake import square

from analytics.defs.manhattan import manhattan_map
from analytics.lib import zone_map
from taxi_shared.provenance import SYNTHETIC, TLC, publisher, source_line


def zones(*trips: int) -> geopandas.GeoDataFrame:
    """Squares from south to north, the last one north of the map."""
    souths = (40.72, 40.75, 40.78, 40.85)
    stats = geopandas.GeoDataFrame(
        {"zone": ["South", "Mid", "Up", "Inwood"], "borough": "Manhattan", "num_trips": trips},
        geometry=[shapely.from_wkt(square(-73.98, south)) for south in souths],
        crs="EPSG:4326",
    )
    stats.attrs = {"period": "January to March 2023", "source": "Source: TLC"}
    return stats


def draw(stats: geopandas.GeoDataFrame) -> Figure:
    figure = manhattan_map(stats)
    assert isinstance(figure, Figure)
    return figure


@pytest.fixture
def figure() -> Figure:
    return draw(zones(1_500_000, 0, 250_000, 12))


def texts(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [found.get_text() for found in figure.findobj(Text) if isinstance(found, Text)]


def test_map_shows_a_fixed_extent(figure: Figure) -> None:
    axes = figure.axes[0]
    assert axes.get_xlim() == (-74.05, -73.90)
    assert axes.get_ylim() == (40.70, 40.82)


def test_mile_north_is_as_long_as_a_mile_east(figure: Figure) -> None:
    assert figure.axes[0].get_aspect() == pytest.approx(1 / cos(radians(40.76)))


def test_map_has_title_period_counts_source_and_legend(figure: Figure) -> None:
    found = texts(figure)
    assert "Yellow taxi trips in Manhattan" in found
    assert "January to March 2023" in found
    assert "1,750,012 trips by zone of pickup  ·  4 zones" in found
    assert "Source: TLC" in found
    assert "Trips per zone\n(linear scale)" in found
    assert "no trips" in found
    (bar,) = figure.axes[0].child_axes
    ticks = [label.get_text() for label in bar.get_yticklabels()]
    assert ticks[0] == "0"
    assert ticks[-1] == "1,500,000"


def test_trips_outside_the_map_are_counted(figure: Figure) -> None:
    assert "12 trips in 1 zone outside this map" in texts(figure)


def test_zones_without_a_shape_are_counted_separately() -> None:
    without = zones(5, 30, 400, 12)
    without.loc[0, "geometry"] = None
    without.loc[1, "geometry"] = shapely.MultiPolygon()
    expected = (
        "12 trips in 1 zone outside this map  ·  35 trips in 2 zones without a shape (not drawn)"
    )
    assert expected in texts(draw(without))


def test_synthetic_data_is_named_on_the_map(figure: Figure) -> None:
    assert not any("ynthetic" in text for text in texts(figure))
    synthetic = zones(1, 2, 3, 4)
    synthetic.attrs["source"] = source_line([SYNTHETIC])
    found = texts(draw(synthetic))
    assert "Synthetic sample data  ·  January to March 2023" in found


def test_no_text_leaves_the_figure() -> None:
    without = zones(123_456_789, 0, 9_876_543, 1_234_567)
    without.loc[2, "geometry"] = None
    without.attrs = {
        "period": "December 2009 to November 2023 without Feb 2010, Sep 2011",
        "source": source_line([TLC, publisher("https://mirror.example.com/tlc"), SYNTHETIC]),
    }
    figure = draw(without)
    figure.canvas.draw()
    assert len(figure.texts) == 5
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1, text.get_text()
        assert box.y0 >= 0, text.get_text()


def test_colours_are_linear_and_grey_without_trips(figure: Figure) -> None:
    (drawn,) = figure.axes[0].collections
    colours = [to_hex(tuple(colour)) for colour in to_rgba_array(drawn.get_facecolor())]
    plasma = colormaps["plasma"]
    assert colours[0] == to_hex(plasma(1.0))
    assert colours[1] == zone_map.NO_TRIPS_COLOUR
    assert colours[2] == to_hex(plasma(250_000 / 1_500_000))


def test_same_zones_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    table = tmp_path / "zones.geojson"
    table.write_text(zones(3, 0, 2, 1).to_json())
    script = (
        "import geopandas, hashlib, io, sys; from analytics.defs.manhattan import manhattan_map; "
        f"zones = geopandas.read_file({str(table)!r}); target = io.BytesIO(); "
        "manhattan_map(zones).savefig(target, metadata={'Software': 'matplotlib'}); "
        "print(hashlib.sha256(target.getvalue()).hexdigest(), 'matplotlib.pyplot' in sys.modules)"
    )
    run = [sys.executable, "-c", script]
    first, second = (
        subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in "ab"
    )
    assert first == second
    assert first.split()[1] == "False", "pyplot keeps global state, which threads would share"


def test_zones_without_trips_or_shapes_are_drawn() -> None:
    empty = zones(0, 0, 0, 0)
    empty.loc[0, "geometry"] = None
    target = io.BytesIO()
    draw(empty).savefig(target)
    assert target.getvalue().startswith(b"\x89PNG")


def test_number_of_a_zone_across_the_border_is_on_the_map() -> None:
    southern = zones(9, 1, 1, 1)
    southern.loc[0, "geometry"] = shapely.box(-74.02, 40.5, -74.01, 40.705)
    drawn = draw(southern)
    (number,) = (t for t in drawn.axes[0].texts if t.get_text() == "1" and t.get_bbox_patch())
    assert 40.70 <= number.get_position()[1] <= 40.705
