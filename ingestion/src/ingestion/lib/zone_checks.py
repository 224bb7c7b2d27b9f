"""Checks of taxi zones before they replace those in the lake.

Pure functions from the rows of the two files and the zones in the lake to what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ingestion.lib.zone_csv import RowError, ZoneRow, ZonesFile
from ingestion.lib.zones import WITHOUT_SHAPE, ZONE_IDS, Zone
from taxi_shared.tables import BOROUGHS

NO_ZONE_TWICE = "no_zone_twice"
ZONES_COMPLETE = "zones_complete"
ZONES_IN_NEW_YORK = "zones_in_new_york"
KNOWN_BOROUGHS = "known_boroughs"


@dataclass(frozen=True)
class Box:
    """A rectangle of coordinates."""

    west: float
    south: float
    east: float
    north: float

    def contains(self, west: float, south: float, east: float, north: float) -> bool:
        """Whether it contains another rectangle; none with a coordinate that is not a number."""
        return (
            west >= self.west and south >= self.south and east <= self.east and north <= self.north
        )


# In degrees, a tenth around TLC's zones: they reach from Staten Island and Newark Airport (EWR) to
# the east of Queens, and from Staten Island and the Rockaways to the north of the Bronx.
NEW_YORK = Box(-74.36, 40.39, -73.60, 41.02)
# The same in feet of its State Plane (EPSG:2263), as TLC's shapefile has it.
NEW_YORK_IN_FEET = Box(880_000, 90_000, 1_100_000, 310_000)
WORLD = Box(-180, -90, 180, 90)
# TLC's ids for places that are unknown or outside New York; their borough is in no list.
OFF_THE_MAP = ("264", "265")
# TLC draws 57, 104 and 105 under the ids of neighbours: no zone is lost where their shapes are.
NEED_NO_SHAPE = frozenset(zone.zone_id for zone in WITHOUT_SHAPE)
PUBLISHED_SHAPES = frozenset(ZONE_IDS) - NEED_NO_SHAPE

EXPECTED_IDS = f"LocationID from {ZONE_IDS[0]} to {ZONE_IDS[-1]}, one zone per LocationID"
EXPECTED_SHAPES = (
    "a valid POLYGON or MULTIPOLYGON in degrees (WGS 84), "
    f"longitude {NEW_YORK.west:.2f} to {NEW_YORK.east:.2f}, "
    f"latitude {NEW_YORK.south:.2f} to {NEW_YORK.north:.2f}"
)
EXPECTED_BOROUGHS = f"one of {', '.join(BOROUGHS)}"
EXPECTED_FIELDS = "as many fields as the header"

# Files, each with what is wrong with its rows.
FileErrors = Sequence[tuple[ZonesFile, Sequence[RowError]]]

MOST_CHANGED = 0.1
ROWS_SHOWN, IDS_SHOWN, LONGEST_TEXT = 3, 10, 100


@dataclass(frozen=True)
class ZonesUpdate:
    """The zones that are to replace those in the lake.

    file:    TLC's map: names, boroughs and shapes
    lookup:  TLC's lookup of names and service zones
    in_lake: the zones to replace
    """

    file: ZonesFile
    lookup: ZonesFile
    in_lake: Sequence[Zone]

    @property
    def files(self) -> tuple[ZonesFile, ZonesFile]:
        """Both files."""
        return self.file, self.lookup


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of a check.

    errors:     sentences on what keeps the zones out of the lake
    warnings:   sentences on what a person should look at
    acceptable: whether a person may accept the errors
    """

    check: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    acceptable: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


def check_zones(update: ZonesUpdate, *, accept_changes: bool) -> list[CheckOutcome]:
    """Check the rows of both files, and how the zones in the lake would change.

    `accept_changes` turns what the zones in the lake would lose, or how they would change, from
    errors into warnings.
    """
    rows, wrong_shapes = update.file.rows, shape_errors(update.file.rows)
    return [
        _outcome_of_rows(
            NO_ZONE_TWICE,
            [(file, id_errors(file.rows)) for file in update.files],
            EXPECTED_IDS,
            rows=len(rows),
        ),
        _outcome_of_rows(ZONES_IN_NEW_YORK, [(update.file, wrong_shapes)], EXPECTED_SHAPES),
        _outcome_of_rows(
            KNOWN_BOROUGHS,
            [(file, borough_errors(file.rows)) for file in update.files],
            EXPECTED_BOROUGHS,
            boroughs=sorted({row.borough for row in rows}),
        ),
        _check_complete(update, accept_changes, has_valid_shapes=not wrong_shapes),
    ]


def id_errors(rows: Iterable[ZoneRow]) -> list[RowError]:
    """Rows without an id that trips can carry, without a name, or with another zone's id."""
    errors: list[RowError] = []
    first: dict[int, ZoneRow] = {}
    for row in rows:
        if text := _id_error(row):
            errors.append(RowError(row.number, text))
            continue
        known = first.setdefault(int(row.zone_id), row)
        if _named(row) != _named(known):
            text = f"LocationID {row.zone_id} is that of another zone in row {known.number}"
            errors.append(RowError(row.number, text))
    return errors


def borough_errors(rows: Iterable[ZoneRow]) -> list[RowError]:
    """Rows whose borough is not one of New York's, but for places off the map."""
    return [
        RowError(row.number, f"borough {_short(row.borough)!r}" if row.borough else "no borough")
        for row in rows
        if row.borough not in BOROUGHS and not (row.zone_id in OFF_THE_MAP and row.borough)
    ]


def shape_errors(rows: Iterable[ZoneRow]) -> list[RowError]:
    """Rows whose shape is no valid polygon in New York; a row may have none."""
    found = [(row.number, _shape_error(row.geometry)) for row in rows if row.geometry]
    return [RowError(number, text) for number, text in found if text]


def _check_complete(
    update: ZonesUpdate, accept_changes: bool, has_valid_shapes: bool
) -> CheckOutcome:
    file, in_lake = update.file, update.in_lake
    broken = _row_sentences([(each, each.broken) for each in update.files], EXPECTED_FIELDS)
    if not file.rows:
        broken.append(f"{file} has no zones.")
    changes = _lost(update) if file.rows else []
    if has_valid_shapes and not broken:
        changes += _changed(file, in_lake)
    accepted = [f"Accepted: {change}" for change in changes] if accept_changes else []
    absent = [borough for borough in BOROUGHS if borough not in _boroughs(file.zones)]
    is_first = not _with_shape(in_lake)
    unusual = [f"{file} has no zone in {', '.join(absent)}."] if is_first and absent else []
    return CheckOutcome(
        ZONES_COMPLETE,
        (*broken, *([] if accept_changes else changes)),
        (*accepted, *unusual),
        acceptable=not broken,
        metadata={
            "zones with a shape": len(_with_shape(file.zones)),
            "zones with a shape in the lake": len(_with_shape(in_lake)),
            "boroughs": len(_boroughs(file.zones)),
            "boroughs in the lake": len(_boroughs(in_lake)),
        },
    )


def _lost(update: ZonesUpdate) -> list[str]:
    """What the files lack: zones of the lake, or for an empty lake those that TLC publishes."""
    file, lookup, in_lake = update.file, update.lookup, update.in_lake
    changes = []
    expected, whose = _with_shape(in_lake) - NEED_NO_SHAPE, "in the lake"
    if not expected:
        expected, whose = PUBLISHED_SHAPES, "that TLC publishes"
    if missing := sorted(expected - _with_shape(file.zones)):
        changes.append(
            f"{file} has a shape for {len(expected) - len(missing)} of the {len(expected)} zones "
            f"{whose}; missing are LocationID {_ids(missing)}."
        )
    if lost := sorted(_boroughs(in_lake) - _boroughs(file.zones)):
        changes.append(f"{file} has no zone in {', '.join(lost)}; the lake has.")
    served = {zone.zone_id for zone in lookup.zones if zone.service_zone}
    if unserved := sorted({zone.zone_id for zone in in_lake if zone.service_zone} - served):
        changes.append(
            f"{lookup} has no service_zone for LocationID {_ids(unserved)}; the lake has."
        )
    return changes


def _changed(file: ZonesFile, in_lake: Sequence[Zone]) -> list[str]:
    """Many zones with another borough, name or place than in the lake.

    TLC corrects a name or a border now and then. A column that was sorted by itself changes most.
    """
    import shapely

    if len(_with_shape(in_lake)) < len(PUBLISHED_SHAPES) * (1 - MOST_CHANGED):
        return []  # no map to compare with
    before = {zone.zone_id: zone for zone in in_lake if zone.geometry}
    both = [
        (before[zone.zone_id], zone)
        for zone in file.zones
        if zone.geometry and zone.zone_id in before
    ]
    shapes = [shapely.from_wkt([pair[i].geometry for pair in both]) for i in (0, 1)]
    changed = {
        "another borough": [new.zone_id for old, new in both if old.borough != new.borough],
        "another name": [new.zone_id for old, new in both if old.zone != new.zone],
        "another place": [
            new.zone_id
            for (_, new), stays in zip(both, shapely.intersects(*shapes), strict=True)
            if not stays
        ],
    }
    return [
        f"{file} has {what} than the lake for {len(ids)} of {len(both)} zones: LocationID "
        f"{_ids(sorted(ids))}."
        for what, ids in changed.items()
        if len(ids) > MOST_CHANGED * len(both)
    ]


def _outcome_of_rows(
    check: str, errors: FileErrors, expected: str, **metadata: Any
) -> CheckOutcome:
    metadata |= {"wrong rows": sum(len(found) for _, found in errors), "expected": expected}
    return CheckOutcome(check, tuple(_row_sentences(errors, expected)), metadata=metadata)


def _row_sentences(errors: FileErrors, expected: str) -> list[str]:
    """A sentence per file that has errors: how many rows, and what is wrong with the first."""
    sentences = []
    for file, found in errors:
        shown = "; ".join(f"row {error.row}: {error.text}" for error in found[:ROWS_SHOWN])
        if len(found) == 1:
            sentences.append(f"{file}, {shown}. Expected {expected}.")
        elif found:
            more = f"; and {len(found) - ROWS_SHOWN:,} more" if len(found) > ROWS_SHOWN else ""
            sentences.append(
                f"{file}: {len(found):,} rows are wrong. {shown}{more}. Expected {expected}."
            )
    return sentences


def _id_error(row: ZoneRow) -> str:
    if not row.zone_id:
        return "LocationID is empty"
    if not row.has_id:
        return f"LocationID {_short(row.zone_id)!r} is not a whole number"
    if int(row.zone_id) not in ZONE_IDS:
        return f"LocationID {row.zone_id} does not exist"
    return "" if row.zone else "the name of the zone is empty"


def _named(row: ZoneRow) -> tuple[str, str, str]:
    return row.zone, row.borough, row.service_zone


def _shape_error(wkt: str) -> str:
    import shapely

    try:
        shape = shapely.from_wkt(wkt)
    except (shapely.errors.ShapelyError, NotImplementedError) as error:
        return f"the_geom cannot be read as WKT ({_short(str(error))})"
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return f"the_geom is a {shape.geom_type}"
    if not shapely.is_valid(shape):
        return f"the_geom is not valid ({_short(shapely.is_valid_reason(shape))})"
    return _place_error(*shape.bounds)


def _place_error(west: float, south: float, east: float, north: float) -> str:
    """What is wrong with the place of a shape, by its bounds."""
    if NEW_YORK.contains(west, south, east, north):
        return ""
    text = f"the_geom is at longitude {west:g} to {east:g}, latitude {south:g} to {north:g}"
    if NEW_YORK.contains(south, west, north, east):
        return f"{text}: longitude and latitude are swapped"
    if NEW_YORK_IN_FEET.contains(west, south, east, north):
        return f"{text}: feet of the New York State Plane (EPSG:2263), convert them to EPSG:4326"
    if not WORLD.contains(west, south, east, north):
        return f"{text}: not degrees, convert them to EPSG:4326"
    return text


def _with_shape(zones: Iterable[Zone]) -> Set[int]:
    return {zone.zone_id for zone in zones if zone.geometry}


def _boroughs(zones: Iterable[Zone]) -> set[str]:
    return {zone.borough for zone in zones if zone.geometry}


def _ids(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:IDS_SHOWN]))
    return f"{shown} and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else shown


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
