"""Which names and contents are valid requests, and the errors on those that are not."""

import json
import re
from dataclasses import replace

import pytest

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.request import (
    MAX_BYTES,
    RESERVED_NAMES,
    InvalidRequest,
    looks_like_request,
    name_key,
    outcome_name,
    read_request,
    request_name,
    stored_name,
)
from adhoc_reports.lib.services import SERVICES
from taxi_shared import keys
from taxi_shared.tables import BOROUGHS, TRIPS

from .conftest import JANUARY


def as_json(**changes: object) -> bytes:
    return json.dumps({**JANUARY, **changes}).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in JANUARY.items() if name != field}).encode()


@pytest.mark.parametrize("borough", BOROUGHS)
def test_every_borough_is_accepted(borough: str) -> None:
    assert read_request("x.json", as_json(borough=borough)).borough == borough


def test_whole_city_and_zone_are_accepted() -> None:
    assert read_request("x.json", as_json(borough="New York City")).area == "New York City"
    request = read_request("x.json", as_json(borough="Queens", zone="JFK Airport"))
    assert request.area == "JFK Airport, Queens"
    assert read_request("x.json", request.to_json().encode()) == request
    assert json.loads(read_request("x.json", as_json()).to_json()) == JANUARY


def test_names_of_other_teams_assets_are_reserved() -> None:
    others = (keys.MANHATTAN_MAP, keys.MANHATTAN_STATS, keys.TRIPS_BY_WEEK)
    assert {key.to_python_identifier() for key in others} == RESERVED_NAMES


def test_byte_order_mark_and_white_space_are_accepted() -> None:
    assert read_request("x.json", b"\xef\xbb\xbf\r\n " + as_json() + b"\n\n").borough == "Manhattan"


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        (b"", ["empty", "borough, start_date, end_date"]),
        (b"   \n", ["not JSON", "line"]),
        (b"borough: Manhattan", ["not JSON", "line 1, column 1"]),
        (as_json()[:30], ["not JSON"]),
        (b"\xff\xfe\x00{", ["not text in UTF-8"]),
        (json.dumps(JANUARY).encode("utf-16"), ["not text in UTF-8"]),
        (b"[" * 60_000, ["nested too deeply"]),
        (b'{"borough":' * 5_000, ["nested too deeply"]),
        (b'{"borough": ' + b"9" * 10_000 + b"}", ["a number that is too long"]),
        (b" " * (MAX_BYTES + 1), ["65,537 bytes", "at most 65,536"]),
        (b"null", ["holds null", "expected a JSON object"]),
        (b"[]", ["holds a list"]),
        (b'"text"', ["holds text"]),
        (b"12", ["holds a number"]),
        (b"true", ["holds true or false"]),
        (b"{}", ["borough is missing", "start_date is missing", "end_date is missing"]),
        (without("borough"), ["field borough is missing"]),
        (without("start_date"), ["field start_date is missing"]),
        (without("end_date"), ["field end_date is missing"]),
        (as_json(colour="red"), ["field 'colour' is not known", "borough, start_date, end_date"]),
        (as_json(filename="y.json"), ["field 'filename' is not known"]),
        (b'{"borough": "Bronx", "borough": "Queens"}', ["field 'borough' is there twice"]),
        (as_json(borough="Atlantis"), ["borough is 'Atlantis'", ", ".join(BOROUGHS)]),
        (as_json(borough="manhattan"), ["borough is 'manhattan'", "Manhattan"]),
        (as_json(borough="Unknown"), ["borough is 'Unknown'"]),
        (as_json(borough=""), ["borough is ''"]),
        (as_json(borough=None), ["borough is null", "expected text"]),
        (as_json(borough=["Queens"]), ["borough is a list", "expected text"]),
        (as_json(borough="' OR 1=1 --"), ['borough is "\' OR 1=1 --"']),
        (as_json(zone=132), ["zone is a number", "expected text"]),
        (as_json(zone="a\nb"), ["zone is 'a\\nb'", "such as JFK Airport"]),
        (as_json(zone="x" * 101), ["expected the name of a taxi zone"]),
        (
            as_json(borough="New York City", zone="JFK Airport"),
            ["expected the borough of the zone"],
        ),
        (b'{"borough": "\\ud800"}', ["borough is '\\ud800'"]),
        (b'{"\\ud800": 1}', ["'\\ud800' is not known"]),
        (as_json(start_date="10/01/2023"), ["start_date is '10/01/2023'", "such as 2023-01-10"]),
        (as_json(start_date="2023-1-10"), ["start_date is '2023-1-10'"]),
        (as_json(start_date="20230110"), ["start_date is '20230110'"]),
        (as_json(start_date="2023-W02-2"), ["start_date is '2023-W02-2'"]),
        (as_json(start_date="2023-01-10T00:00:00"), ["start_date is '2023-01-10T00:00:00'"]),
        (as_json(start_date="２０２３-01-10"), ["start_date is"]),
        (as_json(start_date=20230110), ["start_date is a number"]),
        (as_json(end_date="2023-02-30"), ["end_date is '2023-02-30'", "no such day"]),
        (as_json(end_date=JANUARY["start_date"]), ["2023-01-10 is not before", "end_date"]),
        (as_json(end_date="2023-01-09"), ["2023-01-10 is not before end_date 2023-01-09"]),
    ],
)
def test_error_names_file_field_and_accepted_values(content: bytes, reasons: list[str]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_request("x.json", content)
    assert "x.json" in str(raised.value)
    for reason in reasons:
        assert reason in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        as_json(borough="x" * 50_000),
        as_json(**{"y" * 50_000: 1}),
        json.dumps({f"field {i}": i for i in range(3_000)}).encode(),
        b"no JSON " * 5_000,
    ],
)
def test_error_does_not_repeat_a_long_content(content: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_request("x.json", content)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    "name",
    [
        *(
            "jan",
            "jan.2023",
            "Jänner 2023",
            "一月",
            "x" * 100,
            "é" * 100,
            "[a]#%&'+=@~$",
            "a\u00a0b",
        ),
        *("=1+1", "-rf", "@a", "+1", "console", "com", "com10", "a.con", "None", "0", "JAN.JSON.x"),
    ],
)
def test_name_that_every_system_can_keep_is_accepted(name: str) -> None:
    assert request_name(f"{name}.json") == name
    assert outcome_name(f"{name}.json") == name
    assert stored_name(f"{name}.json") == name


SLASHES = "leave out slashes, backslashes and control characters"
INVISIBLE = "leave out invisible characters such as "
BLANKS = "leave out the blanks at the beginning and end"
WINDOWS = "which Windows does not allow in a name"
INVALID_NAMES = {
    "../x.json": "use a name that does not begin with a dot",
    "/etc/x.json": SLASHES,
    "a/b.json": SLASHES,
    "a\\b.json": SLASHES,
    "..\\x.json": "use a name that does not begin with a dot",
    ".x.json": "use a name that does not begin with a dot",
    "..json": "use a name that does not begin with a dot",
    ".json": "use a name that does not begin with a dot",
    "x": "use a name that ends with .json",
    "": "use a name that ends with .json",
    "x.JSON": "rename it to x.json: the name must end with .json",
    "x.Json.txt": "rename it to x.json: the name must end with .json",
    "x.json ": "rename it to x.json: the name must end with .json",
    "x.json.": "rename it to x.json: the name must end with .json",
    "x.json~": "rename it to x.json: the name must end with .json",
    "x.json.part": "rename it to x.json: the name must end with .json",
    "a\nb.json": SLASHES,
    "a\x00b.json": SLASHES,
    "a\x7fb.json": SLASHES,
    "a\u2028b.json": SLASHES,
    "a\udcffb.json": "use a name in UTF-8",
    "a\u202eb.json": "leave out characters that change the direction of text",
    "a\u200bb.json": INVISIBLE + "U+200B",
    "a\u200d.json": INVISIBLE + "U+200D",
    "\ufeffa.json": INVISIBLE + "U+FEFF",
    "a\u00adb.json": INVISIBLE + "U+00AD",
    "\u3164.json": INVISIBLE + "U+3164",
    "a\ufe0f.json": INVISIBLE + "U+FE0F",
    " .json": BLANKS,
    "\u3000.json": BLANKS,
    " a.json": BLANKS,
    "a .json": BLANKS,
    "a\u00a0.json": BLANKS,
    "a:b.json": "leave out :, " + WINDOWS,
    "a::b.json": "leave out :, " + WINDOWS,
    "s3::x.json": "leave out :, " + WINDOWS,
    "data:,x.json": "leave out :, " + WINDOWS,
    '<a>"b|c?*.json': 'leave out < > " | ? *, ' + WINDOWS,
    "x?versionId=1.json": "leave out ?, " + WINDOWS,
    "a..json": "leave out the dot at the end",
    "a...b.json": "leave out ..., which Dagster does not allow in the name of a partition",
    "con.json": "choose another name: con is the name of a device on Windows",
    "Con.x.json": "choose another name: Con is the name of a device",
    "NUL .x.json": "choose another name: NUL is the name of a device",
    "COM1.json": "choose another name: COM1 is the name of a device",
    "lpt³.json": "choose another name: lpt³ is the name of a device",
    "x" * 101 + ".json": "use at most 100 characters, 200 bytes in UTF-8",
    "一" * 100 + ".json": "use at most 100 characters, 200 bytes in UTF-8",
    "manhattan_map.json": "choose another name: the platform has a file of this name",
    "Trips_By_Week.json": "choose another name: the platform has a file of this name",
}


@pytest.mark.parametrize("filename", INVALID_NAMES)
def test_name_that_some_system_cannot_keep_is_refused(filename: str) -> None:
    with pytest.raises(ValueError, match=re.escape(INVALID_NAMES[filename])):
        request_name(filename)
    with pytest.raises(InvalidRequest, match="cannot be the name of a request: "):
        read_request(filename, as_json())


@pytest.mark.parametrize("filename", INVALID_NAMES)
def test_outcome_of_a_refused_name_has_a_safe_name(filename: str) -> None:
    name = outcome_name(filename)
    assert name.encode("ascii").replace(b"-", b"").replace(b"_", b"").isalnum()
    assert len(name) < 80
    assert len({outcome_name(each) for each in INVALID_NAMES}) == len(INVALID_NAMES)


def test_misnamed_request_is_told_from_leftovers() -> None:
    for name in (
        "x.json",
        "x.JSON",
        "x.json.txt",
        "x.json ",
        "s3::.json",
    ):
        assert looks_like_request(name)
    for name in (".x.json", "x.json~", "x.json.swp", "x.jsonl", "x.txt", "xjson", ""):
        assert not looks_like_request(name)


def test_message_shows_blanks_around_a_name() -> None:
    with pytest.raises(InvalidRequest, match=r"' x\.json' cannot be the name"):
        read_request(" x.json", as_json())


def test_names_of_one_file_on_macos_or_windows_have_one_key() -> None:
    assert name_key("Jän") == name_key("jän") == name_key("ja\u0308n") == name_key("JÄN")
    assert name_key("jan") != name_key("jän")


@pytest.mark.parametrize("name", ["a:b", "a::b", "con", "x.", " ", "a\u200bb", '<a>"|?*'])
def test_report_under_a_name_of_earlier_releases_is_read(name: str) -> None:
    assert stored_name(f"{name}.json") == name
    with pytest.raises(ValueError, match=r"leave out|choose another"):
        request_name(f"{name}.json")


@pytest.mark.parametrize("filename", ["../x.json", "a/b.json", "s3::x.json", "trips_by_week.json"])
def test_name_that_leaves_the_folder_is_never_read(filename: str) -> None:
    with pytest.raises(ValueError, match=r"use a name|leave out|choose another"):
        stored_name(filename)


EARLY = b'{"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}\n'


def test_request_of_an_early_release_asks_what_it_asked() -> None:
    question = read_request("jan.json", EARLY)
    assert (question.kind, question.measure) == ("hours", "trips")
    assert (question.service, question.side) == ("yellow", "pickup")
    assert question.to_json().encode() == EARLY


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_is_read_as_it_was_written(kind: str) -> None:
    other = {"other_borough": "Queens"} if kind == "compare" else {}
    asked = {**json.loads(EARLY), "kind": kind, "measure": "fare", "side": "dropoff", **other}
    question = read_request("a.json", json.dumps(asked).encode())
    assert read_request("a.json", question.to_json().encode()) == question


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "pie"}, "kind is 'pie'; expected one of hours, trend, compare, flows, map"),
        ({"measure": "1; DROP TABLE trips"}, "expected one of trips, fare, tip_share"),
        ({"service": "trips; --"}, "expected one of yellow, green, fhvhv, fhv"),
        ({"side": "both"}, "expected one of pickup, dropoff"),
        ({"kind": "trend", "interval": "year"}, "expected one of day, week, month"),
        ({"interval": "week"}, "interval is given, which a report of kind hours does not have"),
        ({"kind": "map", "zone": "SoHo"}, "a report of kind map shows all zones of a borough"),
        ({"kind": "compare"}, "the second area and period are those of the first"),
        ({"kind": "compare", "other_zone": "SoHo"}, "expected the borough of the zone"),
        ({"kind": "compare", "other_start_date": "2023-01-01"}, "expected both or none"),
        (
            {
                "kind": "compare",
                "other_start_date": "2023-01-02",
                "other_end_date": "2023-01-02",
            },
            "is not before other_end_date",
        ),
    ],
)
def test_field_of_a_kind_is_checked(fields: dict[str, str], words: str) -> None:
    content = json.dumps({**json.loads(EARLY), **fields}).encode()
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        read_request("a.json", content)


def test_measure_that_a_service_lacks_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = tuple(c for c in TRIPS.columns if c.name != "fare_amount")
    without = replace(SERVICES["green"], trips=replace(TRIPS, columns=columns))
    monkeypatch.setitem(SERVICES, "green", without)
    content = json.dumps({**json.loads(EARLY), "service": "green", "measure": "fare"}).encode()
    with pytest.raises(InvalidRequest, match="TLC publishes no fare_amount of it"):
        read_request("a.json", content)
