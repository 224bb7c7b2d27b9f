"""Zones that cannot be right are named by file, row and reason before they reach the lake."""

from dataclasses import replace

import pytest
from upath import UPath

from ingestion.lib.zone_checks import (
    KNOWN_BOROUGHS,
    NO_ZONE_TWICE,
    ZONES_COMPLETE,
    ZONES_IN_NEW_YORK,
    CheckOutcome,
    ZonesUpdate,
    check_zones,
)
from ingestion.lib.zone_csv import RowError, ZoneRow, ZonesFile
from ingestion.lib.zones import Zone, merge_duplicate_zones

from .zone_files import lookup_rows, square, zone_rows

# From TLC's map, longitude and latitude: the corners of Newark Airport and Breezy Point in the
# Rockaways that lie farthest out, and the outermost west and south, and east and north, of all.
OUTERMOST = {
    "Newark Airport": (-74.189997, 40.670993),
    "Breezy Point": (-73.94073682681696, 40.54182008707755),
    "south-west": (-74.25559136, 40.4961154),
    "north-east": (-73.70000906, 40.91553278),
}


def file_of(rows: list[ZoneRow], name: str = "zones.csv") -> ZonesFile:
    return ZonesFile(UPath(name), "https://x.test/zones.csv", tuple(rows))


def rows_of_map() -> list[ZoneRow]:
    return [
        ZoneRow(line, *(str(row[name]) for name in ("LocationID", "zone", "borough", "the_geom")))
        for line, row in enumerate(zone_rows(), start=2)
    ]


def rows_of_lookup() -> list[ZoneRow]:
    return [
        ZoneRow(
            line,
            str(row["LocationID"]),
            str(row["Zone"]),
            str(row["Borough"]),
            service_zone=str(row["service_zone"]),
        )
        for line, row in enumerate(lookup_rows(), start=2)
    ]


ROWS, LOOKUP = rows_of_map(), file_of(rows_of_lookup(), "lookup.csv")
IN_LAKE = merge_duplicate_zones(file_of(ROWS).zones, LOOKUP.zones)


def check(
    rows: list[ZoneRow],
    lookup: ZonesFile = LOOKUP,
    in_lake: list[Zone] = IN_LAKE,
    accept: bool = False,
) -> dict[str, CheckOutcome]:
    update = ZonesUpdate(file_of(rows), lookup, in_lake)
    outcomes = check_zones(update, accept_changes=accept)
    return {outcome.check: outcome for outcome in outcomes}


def errors(outcomes: dict[str, CheckOutcome]) -> dict[str, str]:
    return {name: "\n".join(o.errors) for name, o in outcomes.items() if o.errors}


def with_values(row: ZoneRow, **values: str) -> ZoneRow:
    """The row with other texts."""
    return ZoneRow(**{**vars(row), **values})


def changed(row: int, **values: str) -> list[ZoneRow]:
    """The rows of the map, one of them with other values."""
    return [with_values(r, **values) if r.number == row else r for r in ROWS]


@pytest.mark.parametrize("in_lake", [IN_LAKE, []], ids=["zones in the lake", "none in the lake"])
def test_whole_map_passes_every_check(in_lake: list[Zone]) -> None:
    outcomes = check(ROWS, in_lake=in_lake)
    assert {name: (o.errors, o.warnings) for name, o in outcomes.items()} == dict.fromkeys(
        (NO_ZONE_TWICE, ZONES_IN_NEW_YORK, KNOWN_BOROUGHS, ZONES_COMPLETE), ((), ())
    )
    assert outcomes[ZONES_COMPLETE].metadata["zones with a shape"] == 260


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"zone_id": ""}, "row 5: LocationID is empty"),
        ({"zone_id": "4.0"}, "row 5: LocationID '4.0' is not a whole number"),
        ({"zone_id": "-4"}, "row 5: LocationID '-4' is not a whole number"),
        ({"zone_id": "9" * 200}, f"row 5: LocationID '{'9' * 100}…' is not a whole number"),
        ({"zone_id": "266"}, "row 5: LocationID 266 does not exist"),
        ({"zone_id": "0"}, "row 5: LocationID 0 does not exist"),
        ({"zone_id": "3"}, "row 5: LocationID 3 is that of another zone in row 4"),
        ({"zone": ""}, "row 5: the name of the zone is empty"),
    ],
)
def test_impossible_id_is_named_with_its_row(values: dict[str, str], reason: str) -> None:
    assert errors(check(changed(5, **values)))[NO_ZONE_TWICE] == (
        f"zones.csv (from https://x.test/zones.csv), {reason}. "
        "Expected LocationID from 1 to 265, one zone per LocationID."
    )


def test_impossible_id_of_the_lookup_names_the_lookup() -> None:
    rows = [*LOOKUP.rows, ZoneRow(267, "266", "New", "Queens", service_zone="Boro Zone")]
    found = errors(check(ROWS, file_of(rows, "lookup.csv")))
    assert found == {
        NO_ZONE_TWICE: "lookup.csv (from https://x.test/zones.csv), row 267: LocationID 266 does "
        "not exist. Expected LocationID from 1 to 265, one zone per LocationID."
    }


def test_many_wrong_rows_are_counted_and_the_first_named() -> None:
    found = errors(check([replace(row, zone_id="") for row in ROWS]))[NO_ZONE_TWICE]
    assert ": 263 rows are wrong. row 2: LocationID is empty; row 3: " in found
    assert "row 4: LocationID is empty; and 260 more. Expected" in found
    assert "row 5" not in found


def test_unknown_borough_is_named_with_the_known_ones() -> None:
    assert errors(check(changed(5, borough="Manhatten"))) == {
        KNOWN_BOROUGHS: "zones.csv (from https://x.test/zones.csv), row 5: borough 'Manhatten'. "
        "Expected one of Bronx, Brooklyn, EWR, Manhattan, Queens, Staten Island."
    }
    assert "row 5: no borough" in errors(check(changed(5, borough="")))[KNOWN_BOROUGHS]


def test_zones_264_and_265_may_have_any_borough() -> None:
    rows = [*ROWS, ZoneRow(265, "264", "N/A", "Unknown"), ZoneRow(266, "265", "Outside", "N/A")]
    assert errors(check(rows)) == {}


@pytest.mark.parametrize("corner", OUTERMOST.values(), ids=OUTERMOST)
def test_the_edges_of_new_york_are_in_new_york(corner: tuple[float, float]) -> None:
    assert errors(check(changed(5, geometry=square(corner[0], corner[1], side=0.001)))) == {}


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (
            square(933100, 185000, side=9000),
            "longitude 933100 to 942100, latitude 185000 to 194000: feet of the New York State "
            "Plane (EPSG:2263), convert them to EPSG:4326",
        ),
        (
            square(40.7, -74.0),
            "longitude 40.7 to 40.71, latitude -74 to -73.99: longitude and latitude are swapped",
        ),
        (
            square(-8237642, 4970241, side=1000),
            "longitude -8.23764e+06 to -8.23664e+06, latitude 4.97024e+06 to 4.97124e+06: "
            "not degrees, convert them to EPSG:4326",
        ),
        (square(0, 0), "longitude 0 to 0.01, latitude 0 to 0.01. Expected"),
    ],
    ids=["feet", "swapped", "metres", "elsewhere"],
)
def test_shape_outside_new_york_is_named_with_its_cause(shape: str, reason: str) -> None:
    (found,) = errors(check(changed(5, geometry=shape))).values()
    assert f"row 5: the_geom is at {reason}" in found
    assert found.endswith(
        "Expected a valid POLYGON or MULTIPOLYGON in degrees (WGS 84), "
        "longitude -74.36 to -73.60, latitude 40.39 to 41.02."
    )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (
            "MULTIPOLYGON (((-73.9 40.7, -73.8",
            "cannot be read as WKT (ParseException: Expected number but encountered end of stream)",
        ),
        ("0106000020E6" + "0" * 200_000, "cannot be read as WKT (ParseException: Expected word"),
        ("POLYGON ((-73.9 40.7, -73.8 40.8, -73.8 40.7, -73.9 40.8, -73.9 40.7))", "Self-inters"),
        ("POINT (-73.9 40.7)", "the_geom is a Point"),
        (
            "POLYGON ((-73.9 40.7, -73.8 inf, -73.8 40.7, -73.9 40.7))",
            "is not valid (Invalid Coord",
        ),
    ],
    ids=["cut", "WKB", "crossed", "point", "infinite"],
)
def test_shape_that_is_no_polygon_is_named_with_its_row(shape: str, reason: str) -> None:
    (found,) = errors(check(changed(5, geometry=shape))).values()
    assert "row 5: the_geom " in found
    assert reason in found
    assert len(found) < 500


def test_shape_may_have_heights() -> None:
    shape = "POLYGON Z ((-73.9 40.7 1, -73.8 40.7 1, -73.8 40.8 1, -73.9 40.7 1))"
    assert errors(check(changed(5, geometry=shape))) == {}


def test_missing_zones_and_boroughs_are_named() -> None:
    found = check(ROWS[:3] + ROWS[4:10])
    outcome = found[ZONES_COMPLETE]
    assert outcome.acceptable
    assert outcome.errors == (
        "zones.csv (from https://x.test/zones.csv) has a shape for 9 of the 260 zones in the "
        "lake; missing are LocationID 4, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 241 more.",
    )
    without_queens = [row for row in ROWS if row.borough != "Queens"]
    assert check(without_queens)[ZONES_COMPLETE].errors[1] == (
        "zones.csv (from https://x.test/zones.csv) has no zone in Queens; the lake has."
    )


def test_zone_that_loses_its_shape_is_missing() -> None:
    found = errors(check(changed(5, geometry="")))
    assert list(found) == [ZONES_COMPLETE]
    assert (
        "has a shape for 259 of the 260 zones in the lake; missing are LocationID 4."
        in found[ZONES_COMPLETE]
    )


def test_shape_may_have_its_own_id_or_its_neighbours() -> None:
    rows = [*ROWS, ZoneRow(265, "57", "Corona", "Queens", ROWS[0].geometry)]
    assert errors(check(rows)) == {}
    assert errors(check(ROWS, in_lake=merge_duplicate_zones(file_of(rows).zones))) == {}


def test_first_load_needs_the_zones_of_tlcs_map() -> None:
    found = errors(check(ROWS[:10], in_lake=[]))
    assert (
        "has a shape for 10 of the 260 zones that TLC publishes; missing are LocationID 11, "
        in found[ZONES_COMPLETE]
    )
    outcome = check([replace(row, borough="Queens") for row in ROWS], in_lake=[])[ZONES_COMPLETE]
    assert outcome.errors == ()
    assert outcome.warnings == (
        "zones.csv (from https://x.test/zones.csv) has no zone in Bronx, Brooklyn, EWR, "
        "Manhattan, Staten Island.",
    )


def test_service_zones_that_would_be_lost_are_named() -> None:
    found = errors(check(ROWS, file_of(list(LOOKUP.rows[:260]), "lookup.csv")))
    assert found == {
        ZONES_COMPLETE: "lookup.csv (from https://x.test/zones.csv) has no service_zone for "
        "LocationID 261, 262, 263, 264, 265; the lake has."
    }


def test_accepted_changes_are_warnings() -> None:
    outcome = check(ROWS[:10], accept=True)[ZONES_COMPLETE]
    assert outcome.errors == ()
    assert [warning.partition(" zones.csv")[0] for warning in outcome.warnings] == ["Accepted:"]


def test_file_without_zones_cannot_be_accepted() -> None:
    outcome = check([], accept=True)[ZONES_COMPLETE]
    assert outcome.errors == ("zones.csv (from https://x.test/zones.csv) has no zones.",)
    assert not outcome.acceptable


def test_broken_rows_cannot_be_accepted() -> None:
    file = replace(file_of(ROWS), broken=(RowError(300, "2 fields, the header has 7"),))
    *_, outcome = check_zones(ZonesUpdate(file, LOOKUP, IN_LAKE), accept_changes=True)
    assert outcome.errors == (
        "zones.csv (from https://x.test/zones.csv), row 300: 2 fields, the header has 7. "
        "Expected as many fields as the header.",
    )


@pytest.mark.parametrize(
    ("field", "what"),
    [("zone", "another name"), ("borough", "another borough"), ("geometry", "another place")],
)
def test_column_sorted_by_itself_is_refused_until_accepted(field: str, what: str) -> None:
    values = [getattr(row, field) for row in ROWS]
    moved = [
        with_values(row, **{field: value})
        for row, value in zip(ROWS, values[50:] + values[:50], strict=True)
    ]
    assert f"has {what} than the lake" in "\n".join(check(moved)[ZONES_COMPLETE].errors)
    assert not errors(check(moved, accept=True)).get(ZONES_COMPLETE)


def test_few_corrected_zones_are_no_change() -> None:
    corrected = [replace(row, zone=f"New {row.zone}") for row in ROWS[:20]]
    assert check([*corrected, *ROWS[20:]])[ZONES_COMPLETE].errors == ()
