import json
from collections import Counter

import dagster as dg
import geopandas
import pytest
import shapely
from matplotlib.figure import Figure
from small_lake import ISLANDS, Trip, square, write_month, write_zones

from analytics.definitions import defs
from analytics.defs.manhattan import manhattan_map
from analytics.lib.io_managers import GeoJsonFiles
from analytics.lib.zones import trips_by_zone
from taxi_shared.lake import Lake
from taxi_shared.provenance import SYNTHETIC, TLC, UNKNOWN

ZONES = [
    (4, "Alphabet City", "Manhattan", square(-73.98, 40.72)),
    (7, "Astoria", "Queens", square(-73.92, 40.76)),
    (103, ISLANDS, "Manhattan", square(-74.02, 40.69)),
    (104, ISLANDS, "Manhattan", None),
    (105, ISLANDS, "Manhattan", None),
    (230, "Times Sq", "Manhattan", square(-73.99, 40.75)),
    (264, "Unknown", "Unknown", None),
]
TRIPS = [
    *(Trip("2019-01-01 10:00:00", zone) for zone in (4, 4, 4, 7, 104, 105, 103, 264, None)),
]


def zones_frame() -> geopandas.GeoDataFrame:
    frame = geopandas.pd.DataFrame(ZONES, columns=["zone_id", "zone", "borough", "wkt"])
    shapes = geopandas.GeoSeries.from_wkt(frame.pop("wkt"), crs="EPSG:4326")
    return geopandas.GeoDataFrame(frame, geometry=shapes)


@pytest.fixture
def loaded(lake: Lake) -> Lake:
    write_month(lake, "2019-01-01", TRIPS)
    write_month(lake, "2019-02-01", [Trip("2019-02-03 10:00:00", 4)])
    write_zones(lake, ZONES)
    return lake


def update() -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("manhattan_update_job").execute_in_process(
        instance=dg.DagsterInstance.ephemeral()
    )


def test_zones_of_the_borough_have_their_trips_and_those_without_have_zero() -> None:
    stats = trips_by_zone(zones_frame(), {4: 3, 7: 5, 264: 1}, "Manhattan")
    assert list(stats.columns) == ["zone", "borough", "geometry", "num_trips"]
    assert dict(zip(stats["zone"], stats["num_trips"], strict=True)) == {
        "Alphabet City": 3,
        ISLANDS: 0,
        "Times Sq": 0,
    }
    assert set(stats["borough"]) == {"Manhattan"}
    assert stats.crs == "EPSG:4326"


def test_ids_of_the_same_islands_are_one_zone_with_the_trips_of_all_and_the_shape_of_one() -> None:
    stats = trips_by_zone(zones_frame(), {103: 1, 104: 10, 105: 100}, "Manhattan")
    (islands,) = stats[stats["zone"] == ISLANDS].itertuples()
    assert islands.num_trips == 111
    assert islands.geometry.equals(shapely.from_wkt(square(-74.02, 40.69)))


def test_the_map_is_a_function_of_its_zones() -> None:
    stats = trips_by_zone(zones_frame(), {4: 3, 7: 5}, "Manhattan")
    assert isinstance(manhattan_map(stats), Figure)


def test_the_geojson_agrees_with_a_count_by_hand_over_all_months(loaded: Lake) -> None:
    assert update().success
    stats = geopandas.read_file(loaded.root.staging / "manhattan_stats.geojson")
    names = {zone_id: zone for zone_id, zone, borough, _ in ZONES if borough == "Manhattan"}
    by_hand = Counter(dict.fromkeys(names.values(), 0))
    by_hand.update(names[t.zone_id] for t in TRIPS if t.zone_id in names)
    by_hand["Alphabet City"] += 1
    assert dict(zip(stats["zone"], stats["num_trips"], strict=True)) == dict(by_hand)
    assert stats.crs == "EPSG:4326"
    assert stats.geometry.notna().all()


def test_the_map_is_a_png_and_shown_on_the_page_of_its_asset(loaded: Lake) -> None:
    result = update()
    png = (loaded.root.outputs / "manhattan_map.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    (event,) = result.asset_materializations_for_node("manhattan_map")
    assert "data:image/png;base64," in event.metadata["preview"].value
    (event,) = result.asset_materializations_for_node("manhattan_stats")
    assert "| Alphabet City | Manhattan | 4 |" in event.metadata["preview"].value


def test_the_same_lake_gives_the_same_bytes_of_geojson_and_map(loaded: Lake) -> None:
    paths = (
        loaded.root.staging / "manhattan_stats.geojson",
        loaded.root.outputs / "manhattan_map.png",
    )
    update()
    before = [path.read_bytes() for path in paths]
    update()
    assert [path.read_bytes() for path in paths] == before


def test_without_zones_the_error_says_what_to_materialize(lake: Lake) -> None:
    with pytest.raises(Exception, match="zones") as raised:
        update()
    assert "materialize taxi_zones first" in f"{raised.value} {raised.value.__cause__}"


def members(lake: Lake) -> dict[str, object]:
    """The members of the GeoJSON beside its features."""
    content = json.loads((lake.root.staging / "manhattan_stats.geojson").read_text())
    assert (content.pop("type"), len(content.pop("features"))) == ("FeatureCollection", 3)
    return content


def test_period_and_source_go_with_the_statistics(loaded: Lake) -> None:
    write_month(loaded, "2019-04-01", [], publisher=TLC)
    result = update()
    expected = {
        "period": "January to April 2019 without Mar 2019",
        "source": f"Source: {TLC}; {UNKNOWN}",
    }
    assert members(loaded) == expected
    (event,) = result.asset_materializations_for_node("manhattan_stats")
    assert {name: event.metadata[name].value for name in expected} == expected


def test_synthetic_zones_make_the_statistics_synthetic(lake: Lake) -> None:
    write_month(lake, "2019-01-01", TRIPS, publisher=TLC)
    write_zones(lake, ZONES, publisher="a mirror of TLC's zones")
    update()
    assert members(lake)["source"] == f"Source: {TLC}"
    write_zones(lake, ZONES, publisher=SYNTHETIC)
    update()
    assert members(lake)["source"] == f"Source: {TLC}; {SYNTHETIC}"


def test_map_shows_period_and_source_of_the_stored_statistics(loaded: Lake) -> None:
    write_month(loaded, "2019-01-01", TRIPS, publisher=SYNTHETIC)
    write_month(loaded, "2019-02-01", [], publisher=SYNTHETIC)
    update()
    manager = GeoJsonFiles(loaded.root.staging)
    path = loaded.root.staging / "manhattan_stats.geojson"
    stats = manager.load_from_path(dg.build_input_context(), path)
    texts = [text.get_text() for text in manhattan_map(stats).texts]
    assert "Yellow taxi trips in Manhattan" in texts
    synthetic = "Synthetic sample data  ·  January to February 2019"
    assert {synthetic, f"Source: {SYNTHETIC}"} <= set(texts)


def test_statistics_from_before_periods_were_recorded_are_drawn() -> None:
    stats = trips_by_zone(zones_frame(), {4: 3}, "Manhattan")
    texts = [text.get_text() for text in manhattan_map(stats).texts]
    assert "period not recorded" in texts
    assert "Source: not recorded" in texts
