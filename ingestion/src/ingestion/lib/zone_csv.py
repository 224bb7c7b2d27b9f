"""Read the two CSV files of taxi zones: TLC's shapes, and its lookup of names and service zones.

Python's csv module reads them, because it knows on which line a row begins. `zone_checks` checks
the values of the rows.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from upath import UPath

from ingestion.lib.download import FileFormat, SourceMetadata
from ingestion.lib.published_files import DownloadError
from ingestion.lib.zones import Zone
from taxi_shared import provenance, storage

# Names below `raw/`.
ZONES_FILE, LOOKUP_FILE = "taxi_zones.csv", "taxi_zone_lookup.csv"
# Column of the file → field of ZoneRow.
ZONE_COLUMNS = {
    "LocationID": "zone_id",
    "zone": "zone",
    "borough": "borough",
    "the_geom": "geometry",
}
LOOKUP_COLUMNS = {
    "LocationID": "zone_id",
    "Borough": "borough",
    "Zone": "zone",
    "service_zone": "service_zone",
}
# The project's own sample has this column; no file of TLC's does.
SYNTHETIC_COLUMN = "synthetic"
LONGEST_LIST = 300
LONGEST_ID = 9  # digits

# The first bytes of files that are mistaken for the zones CSV.
_OTHER_FORMATS = (
    (b"PK", "a ZIP archive, such as a zipped shapefile or an Excel workbook"),
    (b"\x00\x00\x27\x0a", "a shapefile (.shp)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"SQLite format 3", "a GeoPackage or another SQLite database"),
    (b"\xff\xfe", "text in UTF-16, expected UTF-8"),
    (b"\xfe\xff", "text in UTF-16, expected UTF-8"),
)
_OTHER_TEXTS = (
    (b"<", "HTML or XML"),
    (b"{", "JSON, such as GeoJSON"),
    (b"[", "JSON, such as GeoJSON"),
)


class ZonesFileError(Exception):
    """A file is not a CSV with the columns of taxi zones."""


@dataclass(frozen=True)
class ZoneRow:
    """A row with its texts stripped; a column that the file lacks is empty.

    number: line of the file that the row begins on; the header is on line 1
    """

    number: int
    zone_id: str
    zone: str
    borough: str
    geometry: str = ""
    service_zone: str = ""

    @property
    def has_id(self) -> bool:
        """Whether the id is a whole number."""
        return self.zone_id.isascii() and self.zone_id.isdigit() and len(self.zone_id) <= LONGEST_ID


@dataclass(frozen=True)
class RowError:
    """What is wrong with a row of a file: its line, and a phrase."""

    row: int
    text: str


@dataclass(frozen=True)
class ZonesFile:
    """A file of zones.

    path:      where it is below the data root
    address:   where it was fetched from; empty where that is not recorded
    broken:    rows that have more or fewer fields than the header; not in `rows`
    synthetic: whether the file says that it is not TLC's
    """

    path: UPath
    address: str = ""
    rows: tuple[ZoneRow, ...] = ()
    broken: tuple[RowError, ...] = ()
    synthetic: bool = False

    def __str__(self) -> str:
        return f"{self.path} (from {self.address})" if self.address else str(self.path)

    @property
    def publisher(self) -> str:
        """Who published the file, as shown to people."""
        if self.address or self.synthetic:
            return provenance.publisher(self.address, self.synthetic)
        return provenance.UNKNOWN

    @property
    def zones(self) -> list[Zone]:
        """The rows whose id is a whole number, in the order of the file."""
        return [
            Zone(
                int(row.zone_id),
                row.zone,
                row.borough,
                row.geometry or None,
                row.service_zone or None,
            )
            for row in self.rows
            if row.has_id
        ]


def read_zones(path: UPath) -> ZonesFile:
    """Read the CSV of shapes. Raises ZonesFileError."""
    return _read(path, ZONE_COLUMNS)


def read_lookup(path: UPath) -> ZonesFile:
    """Read TLC's lookup; no rows where there is no such file. Raises ZonesFileError."""
    return _read(path, LOOKUP_COLUMNS) if path.is_file() else ZonesFile(path)


def is_zones_csv(address: str, head: bytes, tail: bytes) -> None:
    """A FileFormat's check: the file begins like a CSV, not like a web page or a shapefile."""
    if found := _other_format(head):
        raise DownloadError(f"{address} is not the zones CSV: {_expected(ZONE_COLUMNS)}; {found}")


def is_zone_lookup_csv(address: str, head: bytes, tail: bytes) -> None:
    """A FileFormat's check: the file begins with the header of TLC's lookup."""
    first, *_ = head.removeprefix(b"\xef\xbb\xbf").splitlines() or [b""]
    columns = {name.strip(b'" ').lower() for name in first.split(b",")}
    if missing := [name for name in LOOKUP_COLUMNS if name.lower().encode() not in columns]:
        found = _other_format(head) or f"it has no {', '.join(missing)}: it begins with {first!r}"
        raise DownloadError(
            f"{address} is not TLC's zone lookup: {_expected(LOOKUP_COLUMNS)}; {found}"
        )


ZONES_CSV = FileFormat(is_zones_csv, "zones_max_mb")
LOOKUP_CSV = FileFormat(is_zone_lookup_csv, "zones_max_mb")


def _read(path: UPath, columns: Mapping[str, str]) -> ZonesFile:
    metadata = SourceMetadata.load(path)
    file = ZonesFile(path, metadata.address if metadata else "")
    try:
        content = storage.read_bytes(path)
    except FileNotFoundError:
        raise ZonesFileError(f"{path} is missing: materialize taxi_zones_file first") from None
    if found := _other_format(content[:64]):
        raise ZonesFileError(f"{file}: {_expected(columns)}; {found}")
    (_, header), *records = _records(file, content)
    positions = _positions(file, header, columns)
    rows, broken = [], []
    for number, fields in records:
        if len(fields) == len(header):
            values = {field: fields[position].strip() for field, position in positions.items()}
            if values.get("geometry", "")[-5:].upper() == "EMPTY":
                values["geometry"] = ""
            rows.append(ZoneRow(number, **values))
        else:
            text = f"{len(fields)} fields, the header has {len(header)}"
            broken.append(RowError(number, text))
    synthetic = SYNTHETIC_COLUMN in header
    return replace(file, rows=tuple(rows), broken=tuple(broken), synthetic=synthetic)


def _records(file: ZonesFile, content: bytes) -> list[tuple[int, list[str]]]:
    """The rows of a CSV that are not blank, the header first: number of the line, and fields."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(content[: error.start + 1].splitlines())
        raise ZonesFileError(
            f"{file}, row {line}: byte {content[error.start : error.start + 1]!r} is not UTF-8; "
            "save the file as CSV in UTF-8"
        ) from None
    # Without translation of newlines, a file may mix them, and have them in quoted fields.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records, number = [], 1
    with _field_size_limit(len(text)):
        try:
            for fields in reader:
                if fields:
                    records.append((number, fields))
                number = reader.line_num + 1
        except csv.Error as error:
            raise ZonesFileError(f"{file}, row {number}: not valid CSV ({error})") from None
    return records


def _positions(
    file: ZonesFile, header: Sequence[str], columns: Mapping[str, str]
) -> dict[str, int]:
    """The position of each field of ZoneRow in a row; column names match in any case."""
    names = [name.strip().lower() for name in header]
    if missing := [column for column in columns if column.lower() not in names]:
        found = ", ".join(header)
        found = f"{found[:LONGEST_LIST]} …" if len(found) > LONGEST_LIST else found
        raise ZonesFileError(
            f"{file}: {_expected(columns)}; missing {', '.join(missing)}; found {found}"
        )
    if twice := [column for column in columns if names.count(column.lower()) > 1]:
        raise ZonesFileError(f"{file}: more than one column is named {', '.join(twice)}")
    return {field: names.index(column.lower()) for column, field in columns.items()}


def _expected(columns: Mapping[str, str]) -> str:
    return f"expected a CSV with the columns {', '.join(columns)}"


def _other_format(head: bytes) -> str:
    """What the first bytes of a file look like; empty where they may be those of a CSV."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        return "this file is empty"
    for start, name in _OTHER_FORMATS:
        if head.startswith(start):
            return f"this looks like {name}"
    for start, name in _OTHER_TEXTS:
        if text.startswith(start):
            return f"this looks like {name}"
    if b"," not in text.splitlines()[0]:
        return f"the first line has no comma: it begins with {text[:40]!r}"
    return ""


@contextmanager
def _field_size_limit(size: int) -> Iterator[None]:
    """Let csv read fields of so many characters: a shape is longer than its limit of 131,072.

    The limit is one for the whole process, so it is put back.
    """
    before = csv.field_size_limit(max(size, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)
