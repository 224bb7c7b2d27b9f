"""Files of taxi zones as TLC publishes them, with squares for shapes."""

import csv
import io
from collections.abc import Sequence

HEADER = ("OBJECTID", "Shape_Leng", "the_geom", "Shape_Area", "zone", "LocationID", "borough")
IDS = (*range(1, 57), 56, *range(58, 104), 103, 103, *range(106, 264))
BOROUGHS = ("Bronx", "Brooklyn", "EWR", "Manhattan", "Queens", "Staten Island")


def square(west: float, south: float, side: float = 0.01) -> str:
    """A shape as WKT, its corners counter-clockwise from the south-western one."""
    east, north = round(west + side, 6), round(south + side, 6)
    ring = f"{west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}"
    return f"MULTIPOLYGON ((({ring})))"


def zone_rows() -> list[dict[str, object]]:
    """The 263 rows of TLC's map: id 56 twice, 103 three times, no 57, 104 and 105."""
    return [
        {
            "OBJECTID": number,
            "Shape_Leng": 0.04,
            "the_geom": square(
                round(-74.2 + 0.02 * (number % 20), 2), round(40.5 + 0.02 * (number // 20), 2)
            ),
            "Shape_Area": 0.0001,
            "zone": f"Zone {zone_id}",
            "LocationID": zone_id,
            "borough": BOROUGHS[zone_id % 6],
        }
        for number, zone_id in enumerate(IDS, start=1)
    ]


def lookup_rows() -> list[dict[str, object]]:
    """The 265 rows of TLC's lookup."""
    return [
        {
            "LocationID": zone_id,
            "Borough": "Unknown" if zone_id > 263 else BOROUGHS[zone_id % 6],
            "Zone": f"Zone {zone_id}",
            "service_zone": "N/A" if zone_id > 263 else "Boro Zone",
        }
        for zone_id in range(1, 266)
    ]


def csv_text(rows: Sequence[dict[str, object]], header: Sequence[str] = HEADER) -> str:
    """The text of a CSV; columns that the header lacks are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
