"""The CSV files of taxi zones are read row by row, and what is no such file is named."""

import csv
from pathlib import Path

import pytest
from upath import UPath

from ingestion.lib.published_files import DownloadError
from ingestion.lib.zone_csv import (
    ZonesFileError,
    is_zone_lookup_csv,
    is_zones_csv,
    read_lookup,
    read_zones,
)
from taxi_shared import provenance

from .zone_files import HEADER, csv_text, square, zone_rows

SMALL = """LocationID,zone,borough,the_geom
1,Newark Airport,EWR,"POLYGON ((0 0, 1 0, 1 1, 0 0))"
2,"Jamaica
Bay",Queens,"POLYGON ((0 0, 1 0, 1 1, 0 0))"
4, Alphabet City ,Manhattan ,"POLYGON ((0 0, 1 0, 1 1, 0 0))"
"""


def write(tmp_path: Path, content: str | bytes) -> UPath:
    path = UPath(tmp_path / "zones.csv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: UPath) -> str:
    with pytest.raises(ZonesFileError) as error:
        read_zones(path)
    assert str(path) in str(error.value)
    return str(error.value).removeprefix(str(path))


def test_row_has_the_line_that_it_begins_on(tmp_path: Path) -> None:
    rows = read_zones(write(tmp_path, SMALL)).rows
    assert [(row.number, row.zone_id, row.zone, row.borough) for row in rows] == [
        (2, "1", "Newark Airport", "EWR"),
        (3, "2", "Jamaica\nBay", "Queens"),
        (5, "4", "Alphabet City", "Manhattan"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        SMALL.replace("\n", "\r\n"),
        SMALL.replace("\n", "\r"),
        SMALL.replace("\n", "\r\n", 1).replace("Manhattan ,", "Manhattan,"),
        b"\xef\xbb\xbf" + SMALL.encode(),
        SMALL.replace("LocationID", "locationid").replace("the_geom", "THE_GEOM"),
        SMALL + "\n\n",
    ],
    ids=["CRLF", "CR", "mixed", "BOM", "other case", "blank lines"],
)
def test_newlines_byte_order_mark_and_case_do_not_matter(
    tmp_path: Path, content: str | bytes
) -> None:
    found = read_zones(write(tmp_path, content)).zones
    expected = read_zones(write(tmp_path, SMALL)).zones
    assert [(z.zone_id, z.zone.split(), z.borough, z.geometry) for z in found] == [
        (z.zone_id, z.zone.split(), z.borough, z.geometry) for z in expected
    ]
    assert [zone.zone_id for zone in found] == [1, 2, 4]


def test_shapes_longer_than_the_limit_of_csv_are_read(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    ring = ", ".join(f"{n} {n}" for n in range(before // 8))
    file = read_zones(write(tmp_path, SMALL + f'5,Long,Queens,"POLYGON (({ring}))"\n'))
    assert file.zones[-1].geometry == f"POLYGON (({ring}))"
    assert len(ring) > before == csv.field_size_limit()


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"\x00\x00\x27\x0a\x00\x00\x00\x00", "a shapefile"),
        (b'{"type": "FeatureCollection", "features": []}', "GeoJSON"),
        (b"<!DOCTYPE html><html>Sign in, please</html>", "HTML"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
        (b"PAR1\x15\x04", "Parquet"),
        ("LocationID,zone".encode("utf-16"), "UTF-16"),
        (b"LocationID;zone;borough;the_geom\n", "no comma"),
        (b"", "empty"),
    ],
    ids=["zip", "shapefile", "json", "html", "xls", "parquet", "utf-16", "semicolons", "empty"],
)
def test_other_formats_are_named_at_download_and_when_read(
    tmp_path: Path, content: bytes, looks_like: str
) -> None:
    message = error_of(write(tmp_path, content))
    assert message.startswith(
        ": expected a CSV with the columns LocationID, zone, borough, the_geom; "
    )
    assert looks_like in message
    with pytest.raises(DownloadError, match=looks_like) as error:
        is_zones_csv("https://x.test/zones", content[:64], content[-64:])
    assert str(error.value).startswith("https://x.test/zones is not the zones CSV: expected a CSV")


def test_missing_columns_are_named_beside_those_found(tmp_path: Path) -> None:
    assert error_of(write(tmp_path, "OBJECTID,zone,LocationID,the_g\n1,a,1,b\n")) == (
        ": expected a CSV with the columns LocationID, zone, borough, the_geom; "
        "missing borough, the_geom; found OBJECTID, zone, LocationID, the_g"
    )


def test_repeated_column_is_named(tmp_path: Path) -> None:
    message = error_of(write(tmp_path, "LocationID,locationid,zone,borough,the_geom\n"))
    assert message == ": more than one column is named LocationID"


def test_text_that_is_not_utf_8_is_named_with_its_row(tmp_path: Path) -> None:
    content = SMALL.replace("Alphabet City", "Alphabet Café").encode("latin-1")
    assert error_of(write(tmp_path, content)) == (
        ", row 5: byte b'\\xe9' is not UTF-8; save the file as CSV in UTF-8"
    )


def test_unclosed_quote_is_named_with_its_row(tmp_path: Path) -> None:
    content = SMALL.replace('1 1, 0 0))"\n2', "1 1, 0 0))\n2")
    assert error_of(write(tmp_path, content)).startswith(", row 2: not valid CSV (")


def test_rows_with_more_or_fewer_fields_are_separate(tmp_path: Path) -> None:
    file = read_zones(write(tmp_path, SMALL + "5,Five\n6,Six,Queens,,extra\n7,Seven,Queens,\n"))
    assert [(error.row, error.text) for error in file.broken] == [
        (6, "2 fields, the header has 4"),
        (7, "5 fields, the header has 4"),
    ]
    assert [zone.zone_id for zone in file.zones] == [1, 2, 4, 7]
    assert file.zones[-1].geometry is None


def test_empty_shape_is_no_shape(tmp_path: Path) -> None:
    file = read_zones(write(tmp_path, SMALL + "57,Corona,Queens,multipolygon empty\n"))
    assert file.zones[-1].geometry is None


def test_missing_file_says_what_to_materialize(tmp_path: Path) -> None:
    assert error_of(UPath(tmp_path / "none.csv")) == (
        " is missing: materialize taxi_zones_file first"
    )


def test_missing_lookup_has_no_rows(tmp_path: Path) -> None:
    assert read_lookup(UPath(tmp_path / "none.csv")).rows == ()


def test_header_of_the_lookup_is_checked_at_download() -> None:
    is_zone_lookup_csv("x", b'\xef\xbb\xbf"LocationID","Borough","Zone","Service_Zone"\r\n1,', b"")
    for head in (b"LocationID,Borough,Zone\n1", b"<html>", b""):
        with pytest.raises(DownloadError, match="x is not TLC's zone lookup: expected a CSV"):
            is_zone_lookup_csv("x", head, b"")


def test_only_the_column_synthetic_makes_a_file_synthetic(tmp_path: Path) -> None:
    rows = zone_rows()[:2]
    file = read_zones(write(tmp_path, csv_text([{**row, "synthetic": "true"} for row in rows])))
    assert file.publisher == provenance.UNKNOWN
    header = (*HEADER, "synthetic")
    text = csv_text([{**row, "synthetic": "true"} for row in rows], header)
    file = read_zones(write(tmp_path, text))
    assert file.publisher == provenance.SYNTHETIC
    assert file.zones[0].geometry == square(-74.18, 40.5)
