"""What is a valid request, and what is said about one that is not."""

import json

import pytest
from pydantic import ValidationError

from adhoc_reports.defs.requests import AdhocRequestConfig
from adhoc_reports.lib.request import (
    MAX_BYTES,
    TAKEN,
    InvalidRequest,
    error_name,
    read_request,
    request_name,
)
from taxi_shared import keys
from taxi_shared.tables import BOROUGHS

from .conftest import JANUARY


def as_json(**changes: object) -> bytes:
    return json.dumps({**JANUARY, **changes}).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in JANUARY.items() if name != field}).encode()


@pytest.mark.parametrize("borough", BOROUGHS)
def test_every_borough_is_accepted(borough):
    assert read_request("x.json", as_json(borough=borough)).borough == borough


def test_the_whole_city_and_a_zone_are_accepted():
    assert read_request("x.json", as_json(borough="New York City")).area == "New York City"
    request = read_request("x.json", as_json(borough="Queens", zone="JFK Airport"))
    assert request.area == "JFK Airport, Queens"
    assert read_request("x.json", request.to_json().encode()) == request
    assert json.loads(read_request("x.json", as_json()).to_json()) == JANUARY


def test_names_that_are_taken_are_those_of_other_teams_assets():
    others = (keys.MANHATTAN_MAP, keys.MANHATTAN_STATS, keys.TRIPS_BY_WEEK)
    assert {key.to_python_identifier() for key in others} == TAKEN


def test_a_byte_order_mark_and_white_space_do_no_harm():
    assert read_request("x.json", b"\xef\xbb\xbf\r\n " + as_json() + b"\n\n").name == "x"


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
def test_what_is_wrong_is_said_with_the_file_the_field_and_what_is_accepted(content, reasons):
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
def test_the_content_of_a_file_is_not_echoed_at_length(content):
    with pytest.raises(InvalidRequest) as raised:
        read_request("x.json", content)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    "name", ["jan", "jan.2023", "Jänner 2023", "一月", "a::b", "x" * 100, "é" * 100, " ", "[a]*?#%"]
)
def test_a_name_is_any_file_name(name):
    assert request_name(f"{name}.json") == name
    assert error_name(f"{name}.json") == name


INVALID_NAMES = {
    "../x.json": "slashes",
    "/etc/x.json": "slashes",
    "a/b.json": "slashes",
    "a\\b.json": "slashes",
    "..\\x.json": "dot",
    ".x.json": "dot",
    "..json": "dot",
    ".json": "dot",
    "x": "ends with .json",
    "x.JSON": "ends with .json",
    "": "ends with .json",
    "a\nb.json": "control characters",
    "a\x00b.json": "control characters",
    "a\udcffb.json": "control characters",
    "x" * 101 + ".json": "at most 100 characters",
    "一" * 100 + ".json": "200 bytes",
    "manhattan_map.json": "another name",
    "Trips_By_Week.json": "another name",
}


@pytest.mark.parametrize("filename", INVALID_NAMES)
def test_a_name_that_leaves_the_folder_or_hides_or_is_too_long_is_refused(filename):
    expected = INVALID_NAMES[filename] if not filename.startswith("../") else ""
    with pytest.raises(ValueError, match=f"expected.*{expected}"):
        request_name(filename)
    with pytest.raises(ValidationError, match=f"expected.*{expected}"):
        AdhocRequestConfig(filename=filename, **JANUARY)


@pytest.mark.parametrize("filename", INVALID_NAMES)
def test_the_report_on_a_bad_name_has_a_name_that_is_safe_and_its_own(filename):
    name = error_name(filename)
    assert name.encode("ascii").replace(b"-", b"").replace(b"_", b"").isalnum()
    assert len(name) < 80
    assert len({error_name(each) for each in INVALID_NAMES}) == len(INVALID_NAMES)


def test_the_launchpad_refuses_what_a_file_could_not_say_either():
    for wrong in (
        {"borough": "Atlantis"},
        {"end_date": "2023-01-10"},
        {"start_date": "soon"},
        {"colour": "red"},
    ):
        with pytest.raises(ValidationError):
            AdhocRequestConfig(**{"filename": "x.json", **JANUARY, **wrong})
