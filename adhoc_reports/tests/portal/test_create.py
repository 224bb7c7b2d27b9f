"""Create a report: the form, the API, and requests that are refused."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from adhoc_reports.lib.outcome import Status
from adhoc_reports.lib.request import read_request
from adhoc_reports.portal.app import Options
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot

from .support import CATALOG, FORM, LOADED, NAME, QUESTION, Portal, portal_at, text

JSON = {"content-type": "application/json"}


def test_form_offers_the_loaded_months_and_zones(portal: Portal) -> None:
    page = portal.client.get("/")
    assert page.status_code == 200
    assert 'min="2023-01-01" max="2023-03-31"' in page.text
    assert '<option value="JFK Airport, Queens">' in page.text
    assert "1 January 2023 to 31 March 2023" in text(page)
    assert 'value="Bronx"' not in page.text


def test_form_writes_a_request_file(portal: Portal) -> None:
    sent = portal.client.post("/", data=FORM)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/reports/{NAME}")
    assert portal.requests() == {NAME: QUESTION}
    assert read_request(f"{NAME}.json", portal.content(NAME)).borough == "Manhattan"


def test_form_takes_a_zone_and_a_name(portal: Portal) -> None:
    sent = portal.client.post("/", data={**FORM, "area": "Queens/JFK Airport", "name": " JFK, 1% "})
    assert sent.headers["location"] == "/reports/JFK%2C%201%25"
    question = {**QUESTION, "borough": "Queens", "zone": "JFK Airport"}
    assert portal.requests() == {"JFK, 1%": question}
    assert portal.client.get(sent.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"area": ""}, "area", "Expected one of Bronx"),
        ({"area": "Atlantis"}, "area", "Expected one of Bronx"),
        ({"area": "Bronx"}, "area", "No zones of Bronx are loaded"),
        ({"area": "Queens/Soho"}, "area", "Queens has no zone 'Soho'. Choose one of JFK Airport"),
        ({"area": "New York City/Soho"}, "", "expected the borough of the zone"),
        ({"first_day": ""}, "first_day", "Expected a date such as"),
        (
            {"first_day": "2022-12-31"},
            "first_day",
            "Data covers 1 January to 31 March 2023. Choose a first day in that range.",
        ),
        ({"last_day": "tomorrow"}, "last_day", "Expected a date such as"),
        ({"last_day": "2023-04-01"}, "last_day", "2023. Choose a last day in that range."),
        ({"last_day": "9999-12-31"}, "last_day", "2023. Choose a last day in that range."),
        ({"last_day": "2023-01-09"}, "last_day", "The last day is before the first day"),
        ({"name": "../x"}, "name", "Use a name that does not begin with a dot"),
        ({"name": "a/b"}, "name", "Leave out slashes"),
        ({"name": "x" * 101}, "name", "Use at most 100 characters"),
        ({"name": "gpj\u202e.x"}, "name", "Leave out characters that change the direction of text"),
        ({"name": "trips_by_week"}, "name", "Choose another name"),
        ({"name": "a:b?"}, "name", "Leave out : ?, which Windows does not allow in a name."),
        ({"name": "con"}, "name", "Choose another name: con is the name of a device on Windows."),
        ({"name": "jan."}, "name", "Leave out the dot at the end."),
        ({"name": "a\u200bb"}, "name", "Leave out invisible characters such as U+200B."),
        ({"name": "s3::x"}, "name", "Leave out :, which Windows does not allow in a name."),
    ],
)
def test_invalid_field_is_named_and_nothing_is_sent(
    local: Portal, changes: dict[str, str], field: str, reason: str
) -> None:
    refused = local.client.post("/", data={**FORM, **changes})
    assert refused.status_code == 422
    assert reason in text(refused).replace("&#39;", "'")
    if field:
        assert f'id="{field}-error"' in refused.text
        assert 'aria-invalid="true"' in refused.text
    assert not local.root.requests.exists()


def test_refused_form_keeps_its_values(local: Portal) -> None:
    refused = local.client.post("/", data={**FORM, "name": 'a/"b', "area": "Queens/JFK Airport"})
    assert 'value="a/&#34;b"' in refused.text
    assert 'value="Queens/JFK Airport"' in refused.text
    assert 'value="2023-01-10"' in refused.text


def test_no_report_can_be_requested_before_data_is_loaded(local: Portal) -> None:
    local.offer(months=(), zones={})
    page = local.client.get("/")
    assert "No data is loaded yet" in text(page)
    assert "<form" not in page.text
    assert local.client.post("/", data=FORM).status_code == 422


def test_month_that_is_not_loaded_is_named_and_refused(local: Portal) -> None:
    local.offer(months=CATALOG.months[::2])
    assert "31 March 2023 , without February 2023" in text(local.client.get("/"))
    refused = local.client.post("/", data={**FORM, "last_day": "2023-03-01"})
    assert "Not loaded: February 2023. Choose other days." in text(refused)


def test_trend_may_have_a_missing_month_inside(local: Portal) -> None:
    local.offer(months=CATALOG.months[::2])
    trend = {**FORM, "kind": "trend"}
    for last_day in ("2023-02-10", "2023-02-28"):
        refused = local.client.post("/", data={**trend, "last_day": last_day})
        assert "Not loaded: February 2023. Choose other days." in text(refused)
    assert "data-shows-gaps" in refused.text
    assert local.client.post("/", data={**trend, "last_day": "2023-03-01"}).status_code == 303


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("current", ""),
        ("pending", "2023-04 is not published yet; next check at 20:02 UTC."),
        (
            "unreachable",
            "The source of the data has been unreachable since 5 May 2023, 14:02 UTC. Could not "
            "reach TLC for 2023-04; next try at 20:02 UTC.",
        ),
    ],
)
def test_form_says_when_newer_data_can_be_expected(
    local: Portal, state: str, sentence: str
) -> None:
    time = datetime(2023, 5, 5, 14, 2, tzinfo=UTC)
    message = {
        "unreachable": "Could not reach TLC for 2023-04; next try at 20:02 UTC.",
        "pending": sentence,
    }.get(state, "All 46 published months are loaded and current.")
    status = {"service": "yellow", "state": state, "since": time, "next_check": time}
    SourceStatus.model_validate({**status, "message": message}).save(local.root)
    assert f"last day are counted. {sentence}".strip() in text(local.client.get("/"))
    local.offer(months=())
    nothing = f"no report can be created. {sentence or 'Come back later.'}"
    assert nothing in text(local.client.get("/"))


# Names and duplicates


def test_same_request_leads_to_the_existing_report(portal: Portal) -> None:
    for _ in range(2):
        assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
    before = portal.content(NAME)
    portal.answer(NAME)
    assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
    assert portal.content(NAME) == before


def test_name_of_a_report_without_request_file_is_taken(portal: Portal) -> None:
    portal.answer("jan")
    refused = portal.client.post("/", data={**FORM, "name": "jan", "area": "Queens"})
    assert refused.status_code == 409
    assert not portal.root.requests.exists()


def test_name_of_another_request_is_refused(portal: Portal) -> None:
    portal.client.post("/", data={**FORM, "name": "jan"})
    refused = portal.client.post("/", data={**FORM, "name": "jan", "area": "Queens"})
    assert refused.status_code == 409
    assert "Another report already has this name" in text(refused)
    assert portal.requests() == {"jan": QUESTION}
    portal.put("bad", "{")
    assert portal.client.post("/", data={**FORM, "name": "bad"}).status_code == 409


@pytest.mark.parametrize("name", ["Jän", "ja\u0308n", "JÄN"])
def test_name_that_differs_in_spelling_only_is_taken(local: Portal, name: str) -> None:
    assert local.client.post("/", data={**FORM, "name": "jän"}).status_code == 303
    assert local.states() == {"jän": "received"}
    assert local.client.post("/", data={**FORM, "name": name}).status_code == 409
    assert local.requests() == {"jän": QUESTION}


@pytest.mark.parametrize("name", ["100%", "a#b", "a&b=c+d", "[x]", "=1+1", "a;b", "é ü"])
def test_every_accepted_name_has_a_page_and_files(local: Portal, name: str) -> None:
    sent = local.client.post("/", data={**FORM, "name": name})
    assert sent.status_code == 303
    local.answer(name)
    assert local.states() == {name: "done"}
    found = local.client.get(f"/api{sent.headers['location']}").json()
    assert found["name"] == name
    assert local.client.get(found["page"]).status_code == 200
    assert local.client.get(found["chart"]).content == b"\x89PNG"
    assert local.client.get(found["numbers"]).text.startswith("hour_of_day")


def test_same_question_without_a_name_leads_to_the_newest(portal: Portal) -> None:
    portal.put("by hand")
    assert portal.client.post("/", data=FORM).headers["location"] == "/reports/by%20hand"
    assert portal.client.post("/", data={**FORM, "name": "mine"}).status_code == 303
    assert portal.client.post("/api/requests", json=QUESTION).json()["name"] == "mine"
    assert sorted(portal.requests()) == ["by hand", "mine"]
    portal.fail("by hand")
    portal.fail("mine")
    assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"


def test_concurrent_requests_are_neither_lost_nor_doubled(portal: Portal) -> None:
    names = [f"r{number // 2}" for number in range(100)]

    def send(name: str) -> int:
        return portal.client.post("/api/requests", json={**QUESTION, "name": name}).status_code

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(send, names))
    assert sorted(answers) == [200] * 50 + [201] * 50
    assert sorted(portal.requests()) == sorted(set(names))


# Try again, update


def test_failed_request_can_be_tried_again_each_time(local: Portal) -> None:
    assert local.client.post("/", data={**FORM, "name": "jan"}).status_code == 303
    contents = []
    for _ in range(3):
        contents.append(local.content("jan"))
        local.fail("jan")
        assert local.states() == {"jan": "failed"}
        assert local.client.post("/reports/jan/again").status_code == 303
        assert local.states() == {"jan": "received"}
    assert len(set(contents)) == 3
    assert local.requests() == {"jan": QUESTION}


def test_report_is_updated_when_newer_data_is_loaded(local: Portal) -> None:
    local.client.post("/", data=FORM)
    local.answer(NAME)
    before = local.content(NAME)
    assert local.client.post(f"/reports/{NAME}/again").status_code == 303
    assert local.content(NAME) == before
    # Loaded while the report was generated: its numbers are older, whatever its time says.
    january, *others = CATALOG.months
    newer = january.model_copy(update={"loaded": LOADED + timedelta(seconds=1)})
    local.offer(months=(newer, *others))
    page = local.client.get(f"/reports/{NAME}")
    assert "Loaded after this report was generated: January 2023." in text(page)
    local.client.post(f"/reports/{NAME}/again")
    assert local.content(NAME) != before
    for _ in ("as sent", "as read from its file"):
        page = local.client.get(f"/reports/{NAME}")
        updating = "The report is being updated. This version was generated on 1 February 2026"
        assert updating in text(page)
        assert "1,932,504 pickups" in text(page)
        result = local.client.get(f"/api/reports/{NAME}").json()["result"]
        assert result["by_hour"][18][5] == 18_005
        local.refresh()
    local.answer(NAME)
    assert local.state(NAME) == "done"


def test_request_changed_by_hand_is_not_overwritten(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.client.post("/", data=FORM)
    local.fail(NAME)
    find = local.app.state.service.find

    async def find_then_change(name: str) -> object:
        entry = await find(name)
        local.put(NAME, {**QUESTION, "borough": "Queens"})
        return entry

    monkeypatch.setattr(local.app.state.service, "find", find_then_change)
    refused = local.client.post(f"/reports/{NAME}/again")
    assert refused.status_code == 409
    assert "changed in the meantime" in text(refused)
    assert local.requests()[NAME]["borough"] == "Queens"


def test_rejected_request_can_be_sent_again_if_it_is_valid_now(portal: Portal) -> None:
    for name, zone in (("jan", "Soho"), ("none", "Atlantis")):
        portal.put(name, {**QUESTION, "zone": zone})
        portal.settle(name, Status.REJECTED, reason="no such zone")
    assert "Try again" in portal.client.get("/reports/jan").text
    assert "Try again" not in portal.client.get("/reports/none").text
    portal.client.post("/reports/jan/again")
    assert portal.state("jan") == "received"


# API


def test_api_creates_follows_and_downloads(portal: Portal) -> None:
    sent = portal.client.post("/api/requests", json={**QUESTION, "name": "jan"})
    assert (sent.status_code, sent.headers["location"]) == (201, "/api/reports/jan")
    assert sent.json()["state"] == "received"
    assert portal.client.post("/api/requests", json={**QUESTION, "name": "jan"}).status_code == 200
    portal.answer("jan")
    done = portal.client.get("/api/reports/jan").json()
    assert (done["state"], done["trips"], done["run"]) == (
        "done",
        1_932_504,
        "https://public/runs/the-run",
    )
    assert done["result"]["by_hour"][18][5] == 18_005
    basis = done["result"]["basis"]
    assert basis["months"][0]["loaded"] == "2026-01-02T03:04:00Z"
    assert basis["left_out"] == [{"reason": "Picked up elsewhere.", "trips": 7654321}]
    assert portal.client.get(done["chart"]).content == b"\x89PNG"
    assert portal.client.get(done["numbers"]).text.startswith("hour_of_day")
    data = portal.client.get("/api/available").json()
    assert data["months"][0]["month"] == "2023-01-01"


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (b"", "", "this is no JSON object"),
        (b"{", "", "this is no JSON object"),
        (b"[]", "", "this is no JSON object"),
        (b"[" * 10_000, "", ""),
        (b"\xff", "", ""),
        (json.dumps({**QUESTION, "borough": "Atlantis"}), "borough", "expected one of Bronx"),
        (json.dumps({**QUESTION, "colour": "red"}), "colour", "'colour' is not known"),
        (json.dumps({**QUESTION, "end_date": "2023-01-10"}), "", "is not before end_date"),
        (json.dumps({**QUESTION, "start_date": 1}), "start_date", "expected text"),
        (json.dumps({**QUESTION, "name": "a/b"}), "name", "eave out slashes"),
        (json.dumps({**QUESTION, "end_date": "2024-01-01"}), "end_date", "to 31 March 2023"),
        ('{"borough": "\\ud800"}', "borough", "expected"),
        ("{}", "start_date", "field start_date is missing"),
    ],
)
def test_api_refuses_with_field_and_reason(
    local: Portal, content: str | bytes, field: str, reason: str
) -> None:
    refused = local.client.post("/api/requests", content=content, headers=JSON)
    assert refused.status_code in (400, 422)
    answer = refused.json()
    assert reason in (answer["fields"][field] if field else answer["reason"])
    assert not local.root.requests.exists()


def test_no_run_is_linked_without_dagster_s_address(tmp_path: object) -> None:
    with portal_at(DataRoot.at(str(tmp_path)), Options(hosts=["testserver"])) as portal:
        portal.answer("jan")
        assert portal.client.get("/api/reports/jan").json()["run"] is None
        assert not re.search("Run in Dagster", portal.client.get("/reports/jan").text)
