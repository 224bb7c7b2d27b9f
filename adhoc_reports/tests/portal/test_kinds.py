"""Kinds of report in the portal: the form asks for each, pages show each, and files hold each."""

import csv
import html
import re
from datetime import date
from io import BytesIO, StringIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import LoadedMonth, Table
from adhoc_reports.lib.request import MAX_NAME_CHARACTERS, Question
from adhoc_reports.portal.service import default_name

from .support import FORM, LOADED, QUESTION, Portal, text

TREND = {**QUESTION, "kind": "trend", "interval": "week"}
WEEKS = Table(
    columns=("week", "days", "trips", "trips_per_day"),
    headings=("Week from", "Days counted", "Trips", "Trips per day"),
    rows=(("2023-01-10", 5, 50, 10.0), ("2023-01-15", 7, 84, 12.0), ("2023-01-22", 0, None, None)),
)
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def answer_trend(portal: Portal) -> None:
    portal.answer("weeks", TREND, table=WEEKS, weekdays=(0,) * 7, counted=134)


def sent(portal: Portal, **fields: str) -> dict[str, Any]:
    """The request file that the form writes."""
    answer = portal.client.post("/", data={**FORM, "name": "it", **fields})
    assert answer.status_code == 303, text(answer)
    return dict(portal.requests()["it"])


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, {}),
        ({"kind": "hours", "measure": "speed"}, {"measure": "speed"}),
        ({"kind": "trend", "interval": "day"}, {"kind": "trend"}),
        ({"kind": "trend", "interval": "month"}, {"kind": "trend", "interval": "month"}),
        ({"kind": "flows", "side": "dropoff"}, {"kind": "flows", "side": "dropoff"}),
        ({"kind": "map", "interval": "week"}, {"kind": "map"}),
        (
            {"kind": "compare", "other_area": "jfk airport"},
            {"kind": "compare", "other_borough": "Queens", "other_zone": "JFK Airport"},
        ),
        (
            {
                "kind": "compare",
                "other_first_day": "2023-02-10",
                "other_last_day": "2023-02-24",
            },
            {
                "kind": "compare",
                "other_start_date": "2023-02-10",
                "other_end_date": "2023-02-25",
            },
        ),
    ],
)
def test_form_asks_for_every_kind(
    local: Portal, fields: dict[str, str], asked: dict[str, str]
) -> None:
    assert sent(local, **fields) == {**QUESTION, **asked}


@pytest.mark.parametrize(
    "typed", ["JFK Airport, Queens", "jfk airport", "Queens/JFK Airport", " JFK  Airport , Queens"]
)
def test_zone_is_found_however_it_is_typed(local: Portal, typed: str) -> None:
    typed = typed.replace(" ,", ",")
    assert sent(local, area=typed)["zone"] == "JFK Airport"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"area": "Atlantis"}, "Expected one of Bronx"),
        ({"area": "Nowhere, Queens"}, "Queens has no zone"),
        ({"kind": "compare"}, "Choose another area, or other days."),
        ({"kind": "compare", "other_area": "Atlantis"}, "Expected one of Bronx"),
        (
            {"kind": "compare", "other_first_day": "2022-01-01", "other_last_day": "2022-01-05"},
            "Data covers 1 January to 31 March 2023.",
        ),
        ({"kind": "map", "area": "JFK Airport, Queens"}, "the map shows all its zones"),
        ({"kind": "pie"}, "Expected one of hours, trend"),
        ({"measure": "joy"}, "Expected one of trips, fare"),
        ({"service": "green"}, "No month of Green taxi is loaded."),
    ],
)
def test_form_says_what_to_change(local: Portal, fields: dict[str, str], words: str) -> None:
    answer = local.client.post("/", data={**FORM, **fields})
    assert answer.status_code == 422
    assert words in html.unescape(text(answer))
    assert not local.root.requests.exists()


def test_form_offers_the_services_that_are_loaded(local: Portal) -> None:
    green = tuple(LoadedMonth(month=date(2024, m, 1), loaded=LOADED, trips=9) for m in (1, 3))
    local.offer(services={"green": green})
    page = local.client.get("/")
    assert re.findall(r'<option value="(yellow|green|fhvhv|fhv)"', page.text) == ["yellow", "green"]
    assert page.text.count('min="2023-01-01" max="2024-03-31"') == 2
    words = text(page)
    assert "Yellow taxi data covers 1 January 2023 to 31 March 2023 ." in words
    assert "31 March 2024 , without February 2024." in words
    days = {"first_day": "2024-01-03", "last_day": "2024-01-20"}
    assert sent(local, service="green", **days)["service"] == "green"
    assert "High-volume for-hire (not loaded)" in local.client.get("/?service=fhvhv").text


def test_form_begins_with_a_service_that_is_loaded(local: Portal) -> None:
    green = (LoadedMonth(month=date(2024, 1, 1), loaded=LOADED, trips=9),)
    local.offer(months=(), services={"green": green})
    page = local.client.get("/").text
    assert '<option value="green" selected>' in page
    assert 'value="2024-01-31"' in page
    refused = text(local.client.post("/", data=FORM))
    assert "No month of Yellow taxi is loaded. Choose green." in refused


@pytest.mark.parametrize("kind", list(KINDS))
def test_form_of_a_kind_has_its_fields_alone(local: Portal, kind: str) -> None:
    page = local.client.get("/", params={"kind": kind, "area": "Queens"}).text
    assert f'<input type="hidden" form="create" name="kind" value="{kind}">' in page
    assert ('name="interval"' in page) == (kind == "trend")
    assert ('name="other_area"' in page) == (kind == "compare")
    assert re.findall(r'name="kind" value="(\w+)" (?:aria-current="true")?>[A-Z]', page) == [*KINDS]
    assert page.count('aria-current="true"') == 1


def test_other_kind_keeps_what_is_filled_in(local: Portal) -> None:
    form = {**FORM, "kind": "compare", "other_area": "Queens", "name": "mine"}
    # As a browser sends it: the form's own kind, then that of the button.
    query = {**form, "kind": ["compare", "trend"], "last_day": ""}
    page = local.client.get("/", params=query).text
    assert 'value="trend" aria-current="true"' in page
    assert 'value="2023-01-10"' in page
    assert '<input type="hidden" name="other_area" value="Queens">' in page
    assert 'value="mine"' in page
    assert "formnovalidate" in page
    first, *_ = re.findall(r'<button[^>]* form="create"[^>]*>', page)
    assert "formmethod" not in first  # which Enter presses


def test_first_page_is_light(local: Portal) -> None:
    zones = {b: tuple(f"{b} zone of a usual name {n}" for n in range(52)) for b in "ABCDE"}
    local.offer(zones=zones)
    page = local.client.get("/", headers={"accept-encoding": "identity"})
    files = re.findall(r'(?:src|href)="(/static/[^"?]+)', page.text)
    sizes = [len(local.client.get(file).content) for file in files]
    assert len(files) >= 3
    assert len(page.content) + sum(sizes) <= 60_000


def test_presets_fill_in_days_without_script(local: Portal) -> None:
    months = [LoadedMonth(month=date(y, 3, 1), loaded=LOADED, trips=9) for y in (2022, 2023)]
    local.offer(months=tuple(months))
    page = local.client.get("/?kind=compare&area=Queens").text
    assert 'name="first_day" required min="2022-03-01" max="2023-03-31" value="2023-03-01"' in page
    found = re.findall(r'name="preset" value="(\w+)">([^<]+)<', page)
    assert ("week", "Last Sunday to Saturday") in found
    assert ("year_before", "Same weeks last year") in found
    days = {"first_day": "2023-03-13", "last_day": "2023-03-19"}
    form = {"kind": "compare", "area": "Queens", **days}

    def fill_in(preset: str) -> dict[str, str]:
        answer = local.client.get("/", params={**form, "preset": preset})
        assert answer.status_code == 303
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    last = {"first_day": "2023-03-19", "last_day": "2023-03-25"}
    assert fill_in("week") == {**form, **last}
    before = {"other_first_day": "2022-03-14", "other_last_day": "2022-03-20"}
    assert fill_in("year_before") == {**form, **before}
    assert fill_in("nonsense") == form


def test_page_of_a_table_shows_chart_words_and_numbers(local: Portal) -> None:
    answer_trend(local)
    page = local.client.get("/reports/weeks")
    words = html.unescape(text(page))
    assert "134 trips" in words
    assert "Highest: week from 15 January 2023, 12 trips per day" in words
    assert "22 January 2023 0 – –" in words
    (alt,) = re.findall(r'<img class="chart"[^>]* alt="([^"]*)"', page.text)
    assert "Yellow taxi pickups in Manhattan, 10 January 2023 to 24 January 2023" in alt
    assert "Highest: week from 15 January 2023" in alt
    assert 'id="heatmap"' not in page.text
    assert "Yellow taxi pickups in Manhattan" in text(local.client.get("/reports"))


def test_card_names_and_draws_its_kind(local: Portal) -> None:
    answer_trend(local)
    local.answer("hours")
    page = local.client.get("/reports")
    symbols = re.findall(r'<svg class="thumbnail symbol"[^>]*><path d="([^"]+)"', page.text)
    assert symbols == [KINDS["trend"].symbol]
    assert text(page).count(KINDS["trend"].title) == 1
    assert len({kind.symbol for kind in KINDS.values()}) == len(KINDS)


def test_similar_report_opens_the_form_filled_in(local: Portal) -> None:
    answer_trend(local)
    page = local.client.get("/reports/weeks").text
    (link,) = re.findall(r'href="(/\?[^"]*)">Change this question', page)
    form = local.client.get(html.unescape(link)).text
    assert 'name="kind" value="trend"' in form
    assert '<option value="week" selected>' in form
    assert 'value="2023-01-24"' in form


def test_files_of_a_table_have_a_row_per_observation(portal: Portal) -> None:
    answer_trend(portal)
    rows = list(csv.reader(StringIO(portal.client.get("/reports/weeks/data.csv").text)))
    assert rows == [
        ["week", "days", "trips", "trips_per_day"],
        ["2023-01-10", "5", "50", "10.0"],
        ["2023-01-15", "7", "84", "12.0"],
        ["2023-01-22", "0", "", ""],
    ]


def test_report_of_an_early_release_has_new_files(portal: Portal) -> None:
    portal.answer("jan")
    answer = portal.client.get("/reports/jan/data.csv")
    header, *rows = list(csv.reader(StringIO(answer.text)))
    assert header == ["weekday", "hour_of_day", "days", "trips", "trips_per_hour"]
    assert len(rows) == 168
    assert rows[2 * 24 + 18] == ["Tuesday", "18", "3", "18002", str(18002 / 3)]
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''jan.tidy.csv"
    old = portal.client.get("/reports/jan/numbers.csv").text
    assert old.startswith("hour_of_day,Sunday")


def test_workbook_has_numbers_as_numbers_and_says_what_they_are(portal: Portal) -> None:
    portal.answer("a", {**QUESTION, "borough": "Queens", "zone": "JFK Airport"}, remark="=1+1")
    answer = portal.client.get("/reports/a/data.xlsx")
    with ZipFile(BytesIO(answer.content)) as book:
        numbers = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
        about = book.read("xl/worksheets/sheet2.xml").decode()
        texts = book.read("xl/sharedStrings.xml").decode()
    rows = numbers.findall(f".//{SHEET}row")
    assert len(rows) == 1 + 168
    trips = rows[1 + 2 * 24 + 18].findall(f"{SHEET}c")[3]
    assert (trips.get("t"), trips.findtext(f"{SHEET}v")) == (None, "18002")
    assert "<f>" not in about
    for words in ("JFK Airport, Queens", "=1+1", "Picked up elsewhere", "in New York"):
        assert words in texts


def test_chart_is_drawn_as_svg_when_it_is_asked_for(portal: Portal) -> None:
    portal.answer("jan")
    answer = portal.client.get("/reports/jan/chart.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert ElementTree.fromstring(answer.content).tag == "{http://www.w3.org/2000/svg}svg"
    assert portal.client.get("/reports/jan/chart.svg").content == answer.content


@pytest.mark.parametrize("file", ["data.csv", "data.xlsx", "chart.svg"])
def test_file_of_a_missing_report_is_not_found(portal: Portal, file: str) -> None:
    portal.put("waiting")
    for name in ("waiting", "nothing", "manhattan_map"):
        assert portal.client.get(f"/reports/{name}/{file}").status_code == 404


def test_every_kind_has_its_own_default_name(local: Portal) -> None:
    asked = [
        FORM,
        {**FORM, "kind": "trend"},
        {**FORM, "kind": "trend", "interval": "week"},
        {**FORM, "kind": "map", "measure": "fare", "side": "dropoff"},
        {**FORM, "kind": "compare", "other_area": "JFK Airport, Queens"},
        {**FORM, "measure": "tip_share"},
    ]
    names = [local.client.post("/", data=each).headers["location"] for each in asked]
    assert names[0] == "/reports/manhattan_2023-01-10_2023-01-24"
    assert names[3] == "/reports/manhattan_2023-01-10_2023-01-24_map_fare_dropoff"
    assert len(set(names)) == len(asked)
    assert [local.client.post("/", data=each).headers["location"] for each in asked] == names
    longest = Question.model_validate(
        {
            **QUESTION,
            "kind": "compare",
            "zone": "x" * 90,
            "other_borough": "Queens",
            "other_zone": "y" * 90,
        }
    )
    name, other = (
        default_name(each) for each in (longest, longest.model_copy(update={"measure": "fare"}))
    )
    assert len(name) == MAX_NAME_CHARACTERS
    assert name != other


def test_api_answers_with_the_numbers_of_a_table(local: Portal) -> None:
    answer_trend(local)
    result = local.client.get("/api/reports/weeks").json()
    assert result["trips"] == 134
    assert result["question"]["interval"] == "week"
    assert result["result"]["table"]["rows"][1] == ["2023-01-15", 7, 84, 12.0]
