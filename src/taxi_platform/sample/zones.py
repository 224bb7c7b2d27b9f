"""Synthetic taxi zones: an invented map in New York's shape, with the quirks of TLC's zones.

Here: outlines of the boroughs, their division into zones, and the two files of zones that TLC
publishes. How many trips a zone sees belongs to `trips`. The outlines are coarse and the zones are
cells around scattered points, so no line and, but for the three airports, no name comes from TLC's
files.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, islice

import shapely
from shapely import LineString, MultiPoint, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

NEWARK, JFK, LAGUARDIA = 1, 132, 138
HARBOR_ISLANDS, TWICE_LISTED = 103, 56
# TLC's map has zone 57 as 56, and 104 and 105 as 103; its lookup has all five.
NOT_ON_THE_MAP = {57: TWICE_LISTED, 104: HARBOR_ISLANDS, 105: HARBOR_ISLANDS}
UNKNOWN, OUTSIDE_NYC = 264, 265

# Both lines rise to the north-west, like Manhattan's cross streets. South of the first, only yellow
# cabs pick up and congestion is charged; the toll zone of 2025 ends at the second.
STREET_96 = LineString([(-73.9390, 40.7830), (-73.9780, 40.7990)])
STREET_60 = LineString([(-73.9560, 40.7580), (-73.9960, 40.7745)])

# Outlines as "longitude latitude" pairs. The border of two boroughs is written once: it has no gap.
BROOKLYN_QUEENS_LINE = """
    -73.9618 40.7388, -73.9540 40.7380, -73.9450 40.7320, -73.9370 40.7290, -73.9290 40.7270,
    -73.9240 40.7170, -73.9215 40.7090, -73.9110 40.7010, -73.9040 40.6940, -73.8960 40.6860,
    -73.8850 40.6870, -73.8730 40.6945, -73.8680 40.6930, -73.8640 40.6800, -73.8590 40.6680,
    -73.8570 40.6560, -73.8545 40.6480"""

MANHATTAN = """
    -74.0150 40.7005, -74.0185 40.7050, -74.0175 40.7110, -74.0160 40.7185, -74.0120 40.7205,
    -74.0112 40.7285, -74.0095 40.7400, -74.0085 40.7490, -74.0045 40.7575, -73.9995 40.7640,
    -73.9930 40.7735, -73.9870 40.7815, -73.9765 40.7960, -73.9705 40.8050, -73.9625 40.8150,
    -73.9585 40.8215, -73.9550 40.8270, -73.9495 40.8355, -73.9468 40.8430, -73.9465 40.8500,
    -73.9405 40.8580, -73.9350 40.8665, -73.9310 40.8735, -73.9255 40.8785, -73.9190 40.8765,
    -73.9150 40.8775, -73.9095 40.8770, -73.9075 40.8735, -73.9105 40.8695, -73.9155 40.8630,
    -73.9215 40.8575, -73.9275 40.8490, -73.9310 40.8430, -73.9345 40.8345, -73.9352 40.8270,
    -73.9340 40.8160, -73.9330 40.8095, -73.9290 40.8030, -73.9295 40.7960, -73.9370 40.7895,
    -73.9400 40.7840, -73.9430 40.7770, -73.9475 40.7695, -73.9530 40.7640, -73.9590 40.7580,
    -73.9645 40.7520, -73.9690 40.7470, -73.9715 40.7425, -73.9745 40.7360, -73.9720 40.7285,
    -73.9740 40.7195, -73.9770 40.7110, -73.9850 40.7092, -73.9920 40.7090, -73.9985 40.7080,
    -74.0035 40.7045, -74.0085 40.7018"""
ROOSEVELT_ISLAND = """
    -73.9620 40.7490, -73.9580 40.7545, -73.9540 40.7590, -73.9485 40.7650, -73.9415 40.7720,
    -73.9395 40.7710, -73.9455 40.7640, -73.9510 40.7580, -73.9555 40.7535, -73.9605 40.7488"""
RANDALLS_ISLAND = """
    -73.9350 40.7815, -73.9275 40.7795, -73.9200 40.7840, -73.9165 40.7910, -73.9185 40.7970,
    -73.9245 40.8010, -73.9270 40.7960, -73.9335 40.7880"""
GOVERNORS_ISLAND = """
    -74.0260 40.6860, -74.0245 40.6845, -74.0165 40.6880, -74.0125 40.6895, -74.0128 40.6925,
    -74.0170 40.6935, -74.0205 40.6905"""
LIBERTY_ISLAND = """
    -74.0472 40.6900, -74.0455 40.6912, -74.0437 40.6897, -74.0438 40.6884, -74.0460 40.6885"""
ELLIS_ISLAND = """
    -74.0437 40.6990, -74.0405 40.7006, -74.0385 40.6996, -74.0370 40.6984, -74.0400 40.6974"""

BROOKLYN_SHORE = """
    -73.8640 40.6440, -73.8730 40.6370, -73.8850 40.6280, -73.8930 40.6230, -73.9020 40.6130,
    -73.8960 40.6060, -73.8800 40.5990, -73.8790 40.5860, -73.8960 40.5800, -73.9120 40.5880,
    -73.9270 40.5850, -73.9350 40.5860, -73.9300 40.5790, -73.9390 40.5755, -73.9580 40.5735,
    -73.9790 40.5705, -74.0030 40.5700, -74.0120 40.5725, -74.0110 40.5790, -73.9990 40.5830,
    -73.9930 40.5860, -74.0030 40.5950, -74.0170 40.6020, -74.0330 40.6065, -74.0395 40.6150,
    -74.0420 40.6270, -74.0400 40.6370, -74.0330 40.6450, -74.0240 40.6560, -74.0130 40.6630,
    -74.0030 40.6680, -74.0090 40.6710, -74.0180 40.6745, -74.0180 40.6800, -74.0090 40.6860,
    -74.0015 40.6930, -73.9985 40.7000, -73.9920 40.7045, -73.9800 40.7055, -73.9755 40.7030,
    -73.9700 40.7060, -73.9705 40.7110, -73.9650 40.7190, -73.9600 40.7250, -73.9610 40.7320"""

QUEENS_NORTH_AND_EAST = """
    -73.9600 40.7440, -73.9540 40.7495, -73.9440 40.7590, -73.9370 40.7680, -73.9355 40.7760,
    -73.9270 40.7765, -73.9220 40.7810, -73.9120 40.7890, -73.9020 40.7880, -73.8960 40.7820,
    -73.8900 40.7780, -73.8870 40.7840, -73.8720 40.7860, -73.8590 40.7810, -73.8550 40.7700,
    -73.8580 40.7640, -73.8490 40.7610, -73.8450 40.7660, -73.8510 40.7760, -73.8570 40.7830,
    -73.8560 40.7890, -73.8460 40.7950, -73.8370 40.7950, -73.8290 40.7970, -73.8140 40.7965,
    -73.8010 40.7930, -73.7920 40.7890, -73.7830 40.7950, -73.7770 40.7955, -73.7760 40.7870,
    -73.7700 40.7770, -73.7620 40.7670, -73.7560 40.7670, -73.7570 40.7780, -73.7500 40.7820,
    -73.7450 40.7770, -73.7330 40.7640, -73.7190 40.7570, -73.7010 40.7525, -73.7050 40.7390,
    -73.7200 40.7280, -73.7295 40.7230, -73.7270 40.7110, -73.7300 40.7030, -73.7260 40.6900,
    -73.7255 40.6690, -73.7280 40.6530, -73.7400 40.6480, -73.7420 40.6380, -73.7470 40.6330,
    -73.7490 40.6280, -73.7700 40.6200, -73.7860 40.6180, -73.7910 40.6240, -73.8150 40.6370,
    -73.8250 40.6450, -73.8240 40.6550, -73.8300 40.6550, -73.8350 40.6460, -73.8460 40.6420"""
ROCKAWAY = """
    -73.9400 40.5470, -73.9330 40.5570, -73.9150 40.5630, -73.8950 40.5680, -73.8740 40.5740,
    -73.8540 40.5820, -73.8340 40.5880, -73.8150 40.5910, -73.7960 40.5960, -73.7880 40.6060,
    -73.7720 40.6110, -73.7550 40.6140, -73.7440 40.6120, -73.7380 40.6030, -73.7375 40.5940,
    -73.7600 40.5910, -73.7900 40.5880, -73.8130 40.5830, -73.8400 40.5760, -73.8700 40.5660,
    -73.9000 40.5570, -73.9280 40.5450"""
BROAD_CHANNEL = """
    -73.8270 40.5990, -73.8170 40.5975, -73.8120 40.6080, -73.8140 40.6200, -73.8230 40.6250,
    -73.8300 40.6150"""
JFK_FIELD = """
    -73.8250 40.6450, -73.8240 40.6550, -73.8200 40.6640, -73.7960 40.6660, -73.7830 40.6640,
    -73.7640 40.6590, -73.7480 40.6480, -73.7400 40.6480, -73.7420 40.6380, -73.7470 40.6330,
    -73.7490 40.6280, -73.7700 40.6200, -73.7860 40.6180, -73.7910 40.6240, -73.8150 40.6370"""
LAGUARDIA_FIELD = """
    -73.8900 40.7780, -73.8870 40.7840, -73.8720 40.7860, -73.8590 40.7810, -73.8550 40.7700,
    -73.8620 40.7660, -73.8750 40.7710, -73.8870 40.7710"""
TWICE_LISTED_FIELD = """
    -73.8690 40.7430, -73.8660 40.7490, -73.8560 40.7500, -73.8530 40.7420, -73.8600 40.7370"""

BRONX = """
    -73.9245 40.8800, -73.9215 40.8880, -73.9165 40.8990, -73.9130 40.9080, -73.9105 40.9155,
    -73.8960 40.9110, -73.8780 40.9060, -73.8590 40.9010, -73.8520 40.9060, -73.8380 40.8960,
    -73.8240 40.8900, -73.8100 40.8930, -73.7980 40.8860, -73.7840 40.8810, -73.7860 40.8720,
    -73.7890 40.8630, -73.8010 40.8660, -73.8100 40.8620, -73.8150 40.8550, -73.8180 40.8450,
    -73.8140 40.8370, -73.8170 40.8300, -73.8060 40.8240, -73.7940 40.8190, -73.7890 40.8090,
    -73.7960 40.8070, -73.8110 40.8160, -73.8260 40.8170, -73.8330 40.8060, -73.8390 40.8120,
    -73.8420 40.8230, -73.8480 40.8110, -73.8570 40.8140, -73.8560 40.8050, -73.8640 40.8060,
    -73.8700 40.8160, -73.8790 40.8230, -73.8840 40.8200, -73.8740 40.8100, -73.8760 40.8030,
    -73.8880 40.8020, -73.8990 40.8050, -73.9060 40.7990, -73.9140 40.7985, -73.9240 40.8030,
    -73.9300 40.8110, -73.9315 40.8170, -73.9325 40.8270, -73.9318 40.8340, -73.9285 40.8420,
    -73.9250 40.8480, -73.9190 40.8560, -73.9125 40.8620, -73.9080 40.8680, -73.9050 40.8735,
    -73.9075 40.8790, -73.9150 40.8797, -73.9190 40.8787"""
CITY_ISLAND = """
    -73.7930 40.8570, -73.7880 40.8580, -73.7840 40.8480, -73.7830 40.8390, -73.7860 40.8390,
    -73.7890 40.8480"""
RIKERS_ISLAND = """
    -73.8920 40.7925, -73.8850 40.7965, -73.8760 40.7955, -73.8720 40.7910, -73.8800 40.7885,
    -73.8890 40.7895"""

STATEN_ISLAND = """
    -74.0740 40.6490, -74.0715 40.6420, -74.0740 40.6310, -74.0690 40.6210, -74.0580 40.6080,
    -74.0540 40.6000, -74.0640 40.5890, -74.0780 40.5770, -74.0960 40.5640, -74.1090 40.5530,
    -74.1250 40.5440, -74.1330 40.5420, -74.1430 40.5330, -74.1640 40.5270, -74.1830 40.5190,
    -74.1990 40.5120, -74.2170 40.5030, -74.2380 40.4975, -74.2530 40.5000, -74.2540 40.5110,
    -74.2460 40.5230, -74.2440 40.5380, -74.2410 40.5490, -74.2280 40.5570, -74.2170 40.5570,
    -74.2100 40.5680, -74.2040 40.5890, -74.1990 40.6010, -74.2020 40.6130, -74.2010 40.6290,
    -74.1940 40.6400, -74.1800 40.6450, -74.1640 40.6420, -74.1430 40.6410, -74.1240 40.6430,
    -74.1060 40.6470, -74.0890 40.6475"""
NEWARK_FIELD = """
    -74.1930 40.6890, -74.1840 40.7000, -74.1730 40.7045, -74.1560 40.7015, -74.1570 40.6920,
    -74.1760 40.6700, -74.1870 40.6720"""

# A name is a stem and an ending of its borough, so no two boroughs share a name.
STEMS = """
    Alder Amber Anchor Aspen Barley Beacon Birch Bramble Canal Cedar Chandler Cinder Clover Cooper
    Copper Coral Cotton Crane Dover Drum Elm Ember Falcon Fern Ferry Flint Foundry Gable Garnet
    Ginkgo Granite Harrow Hazel Heron Hickory Holly Indigo Iron Ivy Juniper Kestrel Lantern Larch
    Laurel Linden Locust Lumber Maple Marble Mason Mercer Mill Mulberry Nutmeg Oak Ochre Orchard
    Osprey Otter Pearl Pepper Pilot Pine Plover Quarry Quill Rowan Saddle Sailor Sedge Signal Silver
    Slate Sparrow Spruce Sumac Tanner Teal Thistle Tulip Vesper Walnut Weaver Willow Wren Yarrow"""
ENDINGS = {
    "Manhattan": ("Square", "Row", "Circle", "Yards", "Market"),
    "Queens": ("Gardens", "Meadows", "Bay", "Estates"),
    "Brooklyn": ("Hill", "Slip", "Basin", "Terrace"),
    "Bronx": ("Heights", "Bridge", "Mills"),
    "Staten Island": ("Harbor", "Beach", "Kills"),
}


@dataclass(frozen=True)
class Zone:
    """A row of the map of zones; its geometry is in longitude and latitude."""

    location_id: int
    name: str
    borough: str
    geometry: MultiPolygon


@dataclass(frozen=True)
class Land:
    """A connected part of a borough, its number of zones, and their id and name if fixed."""

    borough: str
    outline: BaseGeometry
    zones: int = 1
    location_id: int | None = None
    name: str | None = None


@cache
def taxi_zones() -> tuple[Zone, ...]:
    """The 263 rows of the map, by LocationID: 56 twice, 103 three times; 57, 104 and 105 absent."""
    fixed, unnamed = [], []
    for land in _lands():
        for geometry in _divide(land.outline, land.zones):
            if land.location_id is None:
                unnamed.append((land.borough, geometry))
            else:
                fixed.append(Zone(land.location_id, str(land.name), land.borough, geometry))
    return tuple(sorted([*fixed, *_name_and_number(unnamed)], key=lambda zone: zone.location_id))


def taxi_zones_csv() -> str:
    """The text of `misc/taxi_zones.csv`: one row per shape, as WKT, measured in degrees.

    Its last column, `synthetic`, is in no file of TLC's: it says that the zones are invented.
    """
    header = ("OBJECTID", "Shape_Leng", "the_geom", "Shape_Area", "zone", "LocationID", "borough")
    rows = (
        (
            object_id,
            round(zone.geometry.length, 12),
            shapely.to_wkt(zone.geometry, rounding_precision=9),
            round(zone.geometry.area, 12),
            zone.name,
            zone.location_id,
            zone.borough,
            "true",
        )
        for object_id, zone in enumerate(taxi_zones(), start=1)
    )
    return _csv_text([(*header, "synthetic"), *rows], quote_text=False)


def taxi_zone_lookup_csv() -> str:
    """The text of `misc/taxi_zone_lookup.csv`: one row per LocationID, 1 to 265."""
    zones = {zone.location_id: zone for zone in taxi_zones()}
    zones |= {absent: zones[drawn_as] for absent, drawn_as in NOT_ON_THE_MAP.items()}
    rows = [(i, zone.borough, zone.name, _service_zone(zone)) for i, zone in sorted(zones.items())]
    header = ("LocationID", "Borough", "Zone", "service_zone")
    unknown = [(UNKNOWN, "Unknown", "NV", "N/A"), (OUTSIDE_NYC, "Unknown", "NA", "N/A")]
    return _csv_text([header, *rows, *unknown], quote_text=True)


def is_south_of(street: LineString, geometry: BaseGeometry) -> bool:
    """Whether the centre of a shape is south of a cross street's line."""
    (x1, y1), (x2, y2) = street.coords
    centre = geometry.centroid
    return bool((x2 - x1) * (centre.y - y1) - (y2 - y1) * (centre.x - x1) > 0)


def _lands() -> tuple[Land, ...]:
    queens = Polygon([*_points(QUEENS_NORTH_AND_EAST), *reversed(_points(BROOKLYN_QUEENS_LINE))])
    brooklyn = Polygon([*_points(BROOKLYN_QUEENS_LINE), *_points(BROOKLYN_SHORE)])
    jfk, laguardia, orchard = (
        _polygon(line) for line in (JFK_FIELD, LAGUARDIA_FIELD, TWICE_LISTED_FIELD)
    )
    islands = (GOVERNORS_ISLAND, LIBERTY_ISLAND, ELLIS_ISLAND)
    return (
        Land("EWR", _polygon(NEWARK_FIELD), location_id=NEWARK, name="Newark Airport"),
        Land("Queens", jfk, location_id=JFK, name="JFK Airport"),
        Land("Queens", laguardia, location_id=LAGUARDIA, name="LaGuardia Airport"),
        Land("Queens", orchard, zones=2, location_id=TWICE_LISTED, name="Crown Orchard"),
        Land("Queens", queens - jfk - laguardia - orchard, zones=60),
        Land("Queens", _polygon(ROCKAWAY), zones=4),
        Land("Queens", _polygon(BROAD_CHANNEL)),
        Land("Manhattan", _polygon(MANHATTAN), zones=64),
        Land("Manhattan", _polygon(ROOSEVELT_ISLAND)),
        Land("Manhattan", _polygon(RANDALLS_ISLAND)),
        *(
            Land("Manhattan", _polygon(island), location_id=HARBOR_ISLANDS, name="Harbor Islands")
            for island in islands
        ),
        Land("Brooklyn", brooklyn, zones=61),
        Land("Bronx", _polygon(BRONX), zones=41),
        Land("Bronx", _polygon(CITY_ISLAND)),
        Land("Bronx", _polygon(RIKERS_ISLAND)),
        Land("Staten Island", _polygon(STATEN_ISLAND), zones=20),
    )


def _points(line: str) -> list[tuple[float, float]]:
    pairs = (pair.split() for pair in line.split(","))
    return [(float(longitude), float(latitude)) for longitude, latitude in pairs]


def _polygon(outline: str) -> Polygon:
    return Polygon(_points(outline))


def _divide(land: BaseGeometry, pieces: int) -> list[MultiPolygon]:
    """Cut land into cells, each the ground nearest to one of the scattered points."""
    seeds = list(islice(_scatter(land), pieces))
    # Moving each seed to the centre of its cell evens out sizes; after two moves they vary as much
    # as real neighbourhoods.
    for _ in range(2):
        seeds = [cell.centroid for cell in _cells(land, seeds)]
    return [_as_multipolygon(cell) for cell in _cells(land, seeds)]


def _cells(land: BaseGeometry, seeds: list[Point]) -> list[BaseGeometry]:
    if len(seeds) == 1:
        return [land]
    cells = shapely.voronoi_polygons(MultiPoint(seeds), extend_to=land, ordered=True)
    return [cell & land for cell in cells.geoms]


def _scatter(land: BaseGeometry) -> Iterator[Point]:
    """Points on land, spread evenly by a Halton sequence, and the same in every process."""
    west, south, east, north = land.bounds
    shapely.prepare(land)
    for index in count(1):
        x, y = (_radical_inverse(index, base) for base in (2, 3))
        point = Point(west + x * (east - west), south + y * (north - south))
        if land.contains(point):
            yield point


def _radical_inverse(index: int, base: int) -> float:
    fraction, value = 1.0, 0.0
    while index:
        fraction /= base
        index, digit = divmod(index, base)
        value += digit * fraction
    return value


def _as_multipolygon(geometry: BaseGeometry) -> MultiPolygon:
    polygons = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return MultiPolygon(polygons)


def _name_and_number(unnamed: list[tuple[str, MultiPolygon]]) -> list[Zone]:
    """Number zones in order of name with the remaining ids, as TLC does."""
    ordinals: Counter[str] = Counter()
    named = []
    for borough, geometry in unnamed:
        named.append((_zone_name(borough, ordinals[borough]), borough, geometry))
        ordinals[borough] += 1
    taken = {NEWARK, JFK, LAGUARDIA, HARBOR_ISLANDS, TWICE_LISTED, *NOT_ON_THE_MAP}
    free_ids = (location_id for location_id in range(1, UNKNOWN) if location_id not in taken)
    by_name = sorted(named, key=lambda row: row[0])
    return [Zone(location_id, *row) for location_id, row in zip(free_ids, by_name, strict=True)]


def _zone_name(borough: str, ordinal: int) -> str:
    # 37 and the number of stems have no common factor, so a borough uses each stem once before it
    # repeats one.
    stems = STEMS.split()
    stem = stems[(ordinal * 37 + len(borough)) % len(stems)]
    return f"{stem} {ENDINGS[borough][ordinal % len(ENDINGS[borough])]}"


def _service_zone(zone: Zone) -> str:
    if zone.borough == "EWR":
        return "EWR"
    if zone.location_id in (JFK, LAGUARDIA):
        return "Airports"
    in_core = zone.borough == "Manhattan" and is_south_of(STREET_96, zone.geometry)
    return "Yellow Zone" if in_core else "Boro Zone"


def _csv_text(rows: Iterable[tuple[object, ...]], *, quote_text: bool) -> str:
    text = io.StringIO()
    csv.writer(
        text,
        quoting=csv.QUOTE_NONNUMERIC if quote_text else csv.QUOTE_MINIMAL,
        lineterminator="\n",
    ).writerows(rows)
    return text.getvalue()
