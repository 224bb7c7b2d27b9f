"""The taxi zones: one row an id, from a source that repeats some and leaves some out.

The zones file has LocationID 56 twice (Corona) and 103 three times (Governors, Ellis and Liberty
Island): TLC's ids 57, 104 and 105 under a neighbour's number. Trips carry all of them, and 264 and
265 for pickups that are unknown or outside New York.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ingestion.lib.download import DownloadError

LOOKUP_HEADER = b"LocationID,Borough,Zone,service_zone"
ZONE_IDS = range(1, 266)
ISLANDS = "Governor's Island/Ellis Island/Liberty Island"


@dataclass(frozen=True)
class Zone:
    """A taxi zone; geometry is WKT in longitude and latitude, None where the zone has no shape.

    service_zone is None where TLC's lookup does not tell it.
    """

    zone_id: int
    zone: str
    borough: str
    geometry: str | None
    service_zone: str | None = None


WITHOUT_SHAPE = (
    Zone(57, "Corona", "Queens", None),
    Zone(104, ISLANDS, "Manhattan", None),
    Zone(105, ISLANDS, "Manhattan", None),
    Zone(264, "Unknown", "Unknown", None),
    Zone(265, "Outside of NYC", "Unknown", None),
)


def wrong_ids(ids: Iterable[int]) -> str:
    """What is wrong with the ids of zones; empty where each is one of 1 to 265, and there once."""
    count = Counter(ids)
    wrong = {
        "there more than once": [n for n, times in count.items() if times > 1],
        "not one of 1 to 265": [n for n in count if n not in ZONE_IDS],
    }
    return "; ".join(
        f"{', '.join(map(str, sorted(numbers)))} {text}"
        for text, numbers in wrong.items()
        if numbers
    )


def one_row_an_id(rows: Iterable[Zone], lookup: Iterable[Zone] = ()) -> list[Zone]:
    """Unite the shapes of rows with the same id, add the ids the source leaves out, sort by id.

    `lookup` has the rows of TLC's lookup: they tell the service zone of every id, and name and
    borough of the ids that `rows` leaves out.
    """
    by_id: dict[int, list[Zone]] = defaultdict(list)
    for row in rows:
        by_id[row.zone_id].append(row)
    looked_up = {zone.zone_id: zone for zone in lookup}
    for zone in (*looked_up.values(), *WITHOUT_SHAPE):
        by_id.setdefault(zone.zone_id, [zone])
    united = (_united(by_id[zone_id]) for zone_id in sorted(by_id))
    return [
        replace(zone, service_zone=looked_up[zone.zone_id].service_zone)
        if zone.zone_id in looked_up
        else zone
        for zone in united
    ]


def _united(rows: list[Zone]) -> Zone:
    first = rows[0]
    if len(rows) == 1:
        return first
    import shapely

    shapes = shapely.from_wkt([row.geometry for row in rows])
    united = shapely.to_wkt(shapely.union_all(shapes).normalize(), rounding_precision=-1)
    return Zone(first.zone_id, first.zone, first.borough, united)


def is_zones_csv(address: str, head: bytes, tail: bytes) -> None:
    """A check for `download`: the file begins with a header of its columns, not with a web page."""
    if b"," not in head or head.lstrip()[:1] in (b"<", b"{"):
        raise DownloadError(
            f"{address} is not the zones CSV: it begins with {head[:20]!r}, expected column names"
        )


def is_zone_lookup_csv(address: str, head: bytes, tail: bytes) -> None:
    """The same for TLC's lookup, whose columns have fixed names."""
    header = head.splitlines()[0].replace(b'"', b"").removeprefix(b"\xef\xbb\xbf") if head else b""
    if header != LOOKUP_HEADER:
        raise DownloadError(
            f"{address} is not TLC's zone lookup: it begins with {header[:50]!r}, "
            f"expected {LOOKUP_HEADER!r}"
        )
