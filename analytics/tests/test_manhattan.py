"""Manhattan's trips by zone, and their map, from a small lake."""

import json
from collections import Counter
from typing import Any

import dagster as dg
import geopandas
import pytest
import shapely
from matplotlib.figure import Figure
from small_lake import ISLANDS, Trip, square, write_month, write_zones

from analytics.definitions import defs
from analytics.defs.manhattan import manhattan_map
from analytics.lib.zones import ZoneTrips, merge_by_name
from taxi_shared import keys
from taxi_shared.io_managers import GeoJsonIOManager
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


def counts(**trips: int) -> list[ZoneTrips]:
    """Zones of Manhattan as the query counts them, with trips by `zone_<id>`; 0 by default."""
    return [
        ZoneTrips(zone, borough, wkt, trips.get(f"zone_{zone_id}", 0))
        for zone_id, zone, borough, wkt in ZONES
        if borough == "Manhattan"
    ]


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


def test_zones_have_their_trips_and_shapes_by_name() -> None:
    stats = merge_by_name(counts(zone_4=3))
    assert list(stats.columns) == ["zone", "borough", "geometry", "num_trips"]
    assert dict(zip(stats["zone"], stats["num_trips"], strict=True)) == {
        "Alphabet City": 3,
        ISLANDS: 0,
        "Times Sq": 0,
    }
    assert set(stats["borough"]) == {"Manhattan"}
    assert stats.crs == "EPSG:4326"


def test_ids_of_the_same_name_are_one_zone() -> None:
    stats = merge_by_name(counts(zone_103=1, zone_104=10, zone_105=100))
    (islands,) = stats[stats["zone"] == ISLANDS].itertuples()
    assert islands.num_trips == 111
    assert islands.geometry.equals(shapely.from_wkt(square(-74.02, 40.69)))


def test_geojson_equals_a_count_over_all_months(loaded: Lake) -> None:
    assert update().success
    stats = geopandas.read_file(loaded.root.staging / "manhattan_stats.geojson")
    names = {zone_id: zone for zone_id, zone, borough, _ in ZONES if borough == "Manhattan"}
    by_hand = Counter(dict.fromkeys(names.values(), 0))
    by_hand.update(names[t.zone_id] for t in TRIPS if t.zone_id in names)
    by_hand["Alphabet City"] += 1
    assert dict(zip(stats["zone"], stats["num_trips"], strict=True)) == dict(by_hand)
    assert stats.crs == "EPSG:4326"
    assert stats.geometry.notna().all()


def test_map_and_first_rows_are_shown_on_the_assets_pages(loaded: Lake) -> None:
    result = update()
    png = (loaded.root.outputs / "manhattan_map.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    (event,) = result.asset_materializations_for_node("manhattan_map")
    assert "data:image/png;base64," in str(event.metadata["preview"].value)
    (event,) = result.asset_materializations_for_node("manhattan_stats")
    assert "| Alphabet City | Manhattan | 4 |" in str(event.metadata["preview"].value)


def test_same_lake_gives_the_same_bytes(loaded: Lake) -> None:
    paths = (
        loaded.root.staging / "manhattan_stats.geojson",
        loaded.root.outputs / "manhattan_map.png",
    )
    update()
    before = [path.read_bytes() for path in paths]
    update()
    assert [path.read_bytes() for path in paths] == before


def test_empty_zones_fail_with_what_to_materialize(lake: Lake) -> None:
    with pytest.raises(dg.Failure, match="materialize taxi_zones first"):
        update()


def read_members(lake: Lake) -> dict[str, object]:
    """The members of the GeoJSON beside its features."""
    content: dict[str, Any] = json.loads(
        (lake.root.staging / "manhattan_stats.geojson").read_text()
    )
    assert (content.pop("type"), len(content.pop("features"))) == ("FeatureCollection", 3)
    return content


def test_period_and_source_are_stored_with_the_statistics(loaded: Lake) -> None:
    write_month(loaded, "2019-04-01", [], publisher=TLC)
    result = update()
    expected = {
        "period": "January to April 2019 without Mar 2019",
        "source": f"Source: {TLC}; {UNKNOWN}",
    }
    assert read_members(loaded) == expected
    (event,) = result.asset_materializations_for_node("manhattan_stats")
    assert {name: event.metadata[name].value for name in expected} == expected


def test_synthetic_zones_are_named_in_the_source(lake: Lake) -> None:
    write_month(lake, "2019-01-01", TRIPS, publisher=TLC)
    write_zones(lake, ZONES, publisher="a mirror of TLC's zones")
    update()
    assert read_members(lake)["source"] == f"Source: {TLC}"
    write_zones(lake, ZONES, publisher=SYNTHETIC)
    update()
    assert read_members(lake)["source"] == f"Source: {TLC}; {SYNTHETIC}"


def map_texts(stats: geopandas.GeoDataFrame) -> list[str]:
    figure = manhattan_map(stats)
    assert isinstance(figure, Figure)
    return [text.get_text() for text in figure.texts]


def test_map_shows_period_and_source_of_the_stored_statistics(loaded: Lake) -> None:
    write_month(loaded, "2019-01-01", TRIPS, publisher=SYNTHETIC)
    write_month(loaded, "2019-02-01", [], publisher=SYNTHETIC)
    update()
    manager = GeoJsonIOManager(data_root=str(loaded.root.base))
    context = dg.build_input_context(asset_key=keys.MANHATTAN_STATS)
    texts = map_texts(manager.load_input(context))
    assert "Yellow taxi trips in Manhattan" in texts
    synthetic = "Synthetic sample data  ·  January to February 2019"
    assert {synthetic, f"Source: {SYNTHETIC}"} <= set(texts)


def test_statistics_without_a_period_are_drawn() -> None:
    texts = map_texts(merge_by_name(counts(zone_4=3)))
    assert "period not recorded" in texts
    assert "Source: not recorded" in texts
