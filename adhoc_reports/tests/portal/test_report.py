"""Read a report: its pictures, numbers and files, and who published its data."""

import re

import pytest
from httpx2 import Response

from adhoc_reports.lib.outcome import Status
from taxi_shared import provenance

from .support import QUESTION, Portal, text


def test_report_shows_map_numbers_files_and_data_used(portal: Portal) -> None:
    portal.answer("jan")
    page = portal.client.get("/reports/jan")
    content = text(page)
    assert "1,932,504 pickups in 15 days" in content
    assert "Busiest: Saturday, 23 to 24 h, 11,503 pickups on average" in content
    assert page.text.count('<i class="c') == 2 * (168 + 8)  # averages, totals and their legends
    assert 'title="Tuesday, 18 to 19 h: 6,001 on average"' in page.text
    assert 'title="Tuesday, 18 to 19 h: 18,002 in total"' in page.text
    assert "<td>6,001</td>" in page.text
    assert "<td>18,002</td>" in page.text
    assert "January 2023 2 January 2026, 03:04 UTC 1,234,567" in content
    assert "Picked up elsewhere. 7,654,321" in content
    assert "http://testserver/reports/jan" in content
    assert "https://public/runs/the-run" in content
    chart = portal.client.get("/reports/jan/chart.png")
    assert (chart.headers["content-type"], chart.content) == ("image/png", b"\x89PNG")
    numbers = portal.client.get("/reports/jan/numbers.csv")
    assert numbers.text.startswith("hour_of_day,Sunday")
    assert numbers.headers["content-disposition"] == "attachment; filename*=UTF-8''jan.csv"


def test_report_names_taxis_area_and_days_per_weekday(local: Portal) -> None:
    local.answer("jan")
    page = local.client.get("/reports/jan").text
    assert "<h1>Yellow taxi pickups in Manhattan</h1>" in page
    assert "<title>Done: Yellow taxi pickups in Manhattan" in page
    for day in ("Sun ×2", "Mon ×2", "Tue ×3", "Wed ×2"):
        assert f'<span class="label">{day}</span>' in page


def test_averages_and_totals_need_no_script_in_the_page(local: Portal) -> None:
    local.answer("jan")
    page = local.client.get("/reports/jan").text
    views = re.findall(r'<input type="radio" name="view" value="(\w+)" (checked)?', page)
    assert views == [("averages", "checked"), ("totals", "")]
    assert '<fieldset class="views" id="views" hidden>' in page  # until portal.js works
    tables = re.findall(r'<div class="scroll" data-view="(\w+)"([^>]*)>', page)
    assert [name for name, _ in tables] == ["averages", "totals"]
    assert all("hidden" not in attributes for _, attributes in tables)
    assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page)


def test_report_of_one_day_has_bars(local: Portal) -> None:
    local.answer("day", {**QUESTION, "end_date": "2023-01-11"})
    page = local.client.get("/reports/day").text
    assert 'id="heatmap"' not in page
    heights = [float(each) for each in re.findall(r'<rect [^>]*height="([\d.]+)"', page)]
    assert heights == [round(100 * (1000 * hour + 2) / 23_002, 1) for hour in range(24)]
    assert "<title>Tuesday, 23 to 24 h: 23,002</title>" in page
    assert page.count("<tbody>") == 3  # one table of numbers, two of the data used
    thumbnail = local.client.get("/reports").text.split("<svg")[1].split("</svg>")[0]
    assert re.findall(r"M(\d+) (\d)", thumbnail)[::23] == [("0", "6"), ("23", "0")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Bars: Pickups per hour, in each hour."),
        ({"side": "dropoff"}, "Bars: Drop-offs per hour, in each hour."),
        ({"measure": "fare"}, "Bars: Average fare, US dollars, in each hour."),
    ],
)
def test_bars_and_files_say_what_they_are(
    local: Portal, fields: dict[str, str], words: str
) -> None:
    values = ((None, None, 9.5, None, None, None, None),) * 24 if "measure" in fields else None
    local.answer("day", {**QUESTION, "end_date": "2023-01-11", **fields}, values=values)
    page = local.client.get("/reports/day").text
    assert f'role="img" aria-label="{words}' in page
    assert ("a column per weekday" in page) == ("measure" not in fields)


def test_report_of_one_day_per_weekday_has_one_view(local: Portal) -> None:
    local.answer("week", {**QUESTION, "end_date": "2023-01-17"})
    page = local.client.get("/reports/week").text
    assert 'name="view"' not in page
    assert 'title="Friday, 18 to 19 h: 18,005"' in page


def test_report_without_a_loaded_day_is_shown(local: Portal) -> None:
    local.answer("none", weekdays=(0,) * 7, by_hour=((0,) * 7,) * 24)
    page = text(local.client.get("/reports/none"))
    assert "0 pickups in 0 days" in page
    assert "Busiest" not in page


def test_report_without_recorded_publishers_says_so(local: Portal) -> None:
    local.answer("old")
    assert "Source: not recorded." in text(local.client.get("/reports/old"))
    assert local.client.get("/api/reports/old").json()["result"]["publishers"] == []


@pytest.mark.parametrize("name", ["a:b", "con", "jan.", " ", "a\u200bb", "what?", "a...b"])
def test_report_of_a_name_refused_today_is_shown(local: Portal, name: str) -> None:
    local.answer(name)
    (found,) = local.client.get("/api/reports").json()["reports"]
    assert (found["name"], found["state"]) == (name, "done")
    for path in (found["page"], found["chart"], found["numbers"]):
        assert local.client.get(path).status_code == 200
    assert local.client.post("/", data=form()).headers["location"] == found["page"]
    assert local.client.post(f"{found['page']}/again").status_code == 303
    assert not local.root.requests.exists()


def form() -> dict[str, str]:
    """The form that asks QUESTION."""
    return {"area": "Manhattan", "first_day": "2023-01-10", "last_day": "2023-01-24"}


def test_files_of_other_teams_are_not_served(portal: Portal) -> None:
    portal.store.chart_path("manhattan_map").write_bytes(b"\x89PNG")
    for name in ("manhattan_map", "..%2Frequests%2Fx", "%2e%2e", "a%00b", "x" * 300, "%ff"):
        for path in (f"/reports/{name}", f"/reports/{name}/chart.png", f"/api/reports/{name}"):
            assert portal.client.get(path).status_code == 404
    portal.answer("jan")
    assert portal.client.get("/reports/jan/jan.json").status_code == 404


# Publishers


def test_pages_name_the_publishers_of_their_data(local: Portal) -> None:
    local.answer("jan", publishers=(provenance.TLC,))
    local.offer(publishers=(provenance.SYNTHETIC,))
    for path in ("/", "/reports", "/api", "/?last_day=x"):
        page = text(local.client.get(path))
        assert "Synthetic sample data" in page
        assert f"Source: {provenance.SYNTHETIC}" in page
    page = text(local.client.get("/reports/jan")).replace("&amp;", "&")
    assert "ynthetic" not in page
    assert page.count(f"Source: {provenance.TLC}") == 2  # in the section and the footer
    assert "Source" not in text(local.client.get("/nothing"))


def test_report_of_sample_data_says_so_beside_real_data(local: Portal) -> None:
    local.answer("jan", publishers=(provenance.SYNTHETIC,))
    local.offer(publishers=(provenance.TLC,))
    assert "Synthetic sample data" in text(local.client.get("/reports/jan"))
    assert "ynthetic" not in text(local.client.get("/"))
    assert local.client.get("/api/available").json()["publishers"] == [provenance.TLC]
    local.offer(publishers=(provenance.TLC, provenance.SYNTHETIC))
    assert "Partly synthetic sample data" in text(local.client.get("/"))


# Pages of every status


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_page_and_a_card(local: Portal, status: Status) -> None:
    local.put("jan")
    if status is Status.DONE:
        local.answer("jan")
    elif status is not Status.RECEIVED:
        local.settle("jan", status)
    pages: list[Response] = [local.client.get(path) for path in ("/reports/jan", "/reports", "/")]
    assert [page.status_code for page in pages] == [200] * 3
    assert all(status.capitalize() in text(page) for page in pages)
