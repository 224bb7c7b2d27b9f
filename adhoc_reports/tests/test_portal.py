"""The portal's pages and API, without a browser: over files of the test's own and a Dagster that
answers as the test says."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi.testclient import TestClient
from upath import UPath

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.available import Available
from adhoc_reports.lib.failure import Failure
from adhoc_reports.lib.intake import Accepted
from adhoc_reports.lib.request import MAX_BYTES
from adhoc_reports.portal.app import create_app
from adhoc_reports.portal.guard import MAX_BODY_BYTES, RateLimit
from adhoc_reports.portal.office import MAX_WAITING, View
from adhoc_reports.portal.runs import Dagster
from taxi_shared import provenance, storage
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot
from taxi_shared.web import allowed_hosts

from .portal import AVAILABLE, FORM, LOADED, QUESTION, FakeDagster, Portal, portal_at

NAME = "manhattan_2023-01-10_2023-01-24"


@pytest.fixture(params=["folder", "object store"])
def root(request, tmp_path):
    if request.param == "folder":
        yield DataRoot.at(str(tmp_path))
        return
    base = UPath(f"memory://{tmp_path.name}")
    yield DataRoot(base)
    base.fs.rm(base.path, recursive=True)


@pytest.fixture
def portal(root) -> Iterator[Portal]:
    with portal_at(root) as portal:
        yield portal


@pytest.fixture
def local(tmp_path) -> Iterator[Portal]:
    """The same on a folder alone, for what does not depend on the storage."""
    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        yield portal


def text(page) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def state(portal: Portal, name: str) -> str:
    return portal.client.get(f"/api/reports/{name}").json()["state"]


def again(seconds: float = 1.1) -> None:
    """Until the portal looks at its files again."""
    time.sleep(seconds)


# Ask


def test_the_form_offers_what_there_is_and_nothing_else(portal):
    page = portal.client.get("/")
    assert page.status_code == 200
    assert 'min="2023-01-01" max="2023-03-31"' in page.text
    assert 'value="Queens/JFK Airport"' in page.text
    assert "1 January 2023 to 31 March 2023" in text(page)
    assert 'value="Bronx"' not in page.text


def test_a_request_from_the_form_is_the_file_that_anyone_may_drop(portal):
    sent = portal.client.post("/", data=FORM)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/reports/{NAME}")
    assert portal.requests() == {NAME: QUESTION}
    (file,) = intake.list_requests(portal.root.requests)
    (read,) = intake.read(portal.root.requests, [file])
    assert isinstance(read, Accepted)
    assert read.request.name == NAME


def test_a_zone_and_a_name_go_into_the_file(portal):
    sent = portal.client.post("/", data={**FORM, "area": "Queens/JFK Airport", "name": " JFK, 1% "})
    assert sent.headers["location"] == "/reports/JFK%2C%201%25"
    assert portal.requests() == {
        "JFK, 1%": {**QUESTION, "borough": "Queens", "zone": "JFK Airport"}
    }
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
    ],
)
def test_what_cannot_be_answered_is_not_sent_and_said_beside_its_field(
    local, changes, field, reason
):
    refused = local.client.post("/", data={**FORM, **changes})
    assert refused.status_code == 422
    found = text(refused).replace("&#39;", "'")
    assert re.search(reason, found)
    if field:
        assert f'id="{field}-wrong"' in refused.text
        assert 'aria-invalid="true"' in refused.text
    assert not local.root.requests.exists()


def test_what_was_filled_in_is_kept_when_it_is_refused(local):
    refused = local.client.post("/", data={**FORM, "name": 'a/"b', "area": "Queens/JFK Airport"})
    assert 'value="a/&#34;b"' in refused.text
    assert '<option value="Queens/JFK Airport" selected>' in refused.text
    assert 'value="2023-01-10"' in refused.text


def test_nothing_can_be_asked_before_there_are_data(local):
    available.tell(local.root, Available())
    again()
    assert "No data is loaded yet" in text(local.client.get("/"))
    assert "<form" not in local.client.get("/").text
    assert local.client.post("/", data=FORM).status_code == 422


def test_a_month_that_is_not_loaded_is_named_and_refused(local):
    told = available.told(local.root)
    available.tell(local.root, told.model_copy(update={"months": told.months[::2]}))
    again()
    assert "31 March 2023 , without February 2023" in text(local.client.get("/"))
    refused = local.client.post("/", data={**FORM, "last_day": "2023-03-01"})
    assert "Not loaded: February 2023. Choose other days." in text(refused)


def test_the_same_request_again_leads_to_the_report_that_is_there(portal):
    for _ in range(2):
        assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
    (file,) = intake.list_requests(portal.root.requests)
    portal.answer(NAME)
    again()
    assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
    assert intake.list_requests(portal.root.requests) == [file]


def test_a_report_whose_request_is_gone_is_not_asked_for_again(portal):
    portal.answer("jan")
    portal.client.post("/", data={**FORM, "name": "jan"})
    assert not portal.root.requests.exists()
    assert (
        portal.client.post("/", data={**FORM, "name": "jan", "area": "Queens"}).status_code == 409
    )


def test_a_name_that_another_request_has_is_refused(portal):
    portal.client.post("/", data={**FORM, "name": "jan"})
    refused = portal.client.post("/", data={**FORM, "name": "jan", "area": "Queens"})
    assert refused.status_code == 409
    assert "Another report already has this name" in text(refused)
    assert portal.requests() == {"jan": QUESTION}
    portal.put("bad", "{")
    assert portal.client.post("/", data={**FORM, "name": "bad"}).status_code == 409


def test_of_many_that_send_at_once_none_is_lost_and_none_doubled(portal):
    names = [f"r{number // 2}" for number in range(200)]

    def send(name: str) -> int:
        return portal.client.post("/api/requests", json={**QUESTION, "name": name}).status_code

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(send, names))
    assert sorted(answers) == [200] * 100 + [201] * 100
    assert sorted(portal.requests()) == sorted(set(names))


# Watch


def test_a_request_goes_from_waiting_to_done(portal):
    portal.client.post("/", data=FORM)
    assert state(portal, NAME) == "waiting"
    run_id = portal.dagster.add(portal.run_key(NAME), "QUEUED")
    for status, expected in (
        ("QUEUED", "queued"),
        ("STARTED", "running"),
        ("SUCCESS", "running"),  # until its report is seen
    ):
        portal.dagster.runs[run_id] |= {"status": status, "endTime": time.time()}
        again()
        assert state(portal, NAME) == expected
    page = portal.client.get(f"/reports/{NAME}")
    assert f'data-follow="/api/reports/{NAME}"' in page.text
    assert '<meta http-equiv="refresh"' in page.text
    portal.answer(NAME)
    again()
    assert state(portal, NAME) == "done"
    page = portal.client.get(f"/reports/{NAME}")
    assert 'data-follow=""' in page.text
    assert '<meta http-equiv="refresh"' not in page.text


def test_a_failed_run_says_why_and_can_be_tried_again(portal):
    portal.client.post("/", data=FORM)
    run_id = portal.dagster.add(portal.run_key(NAME), "FAILURE")
    portal.dagster.error = "[Errno 28] No space left on device: <b>"
    again()
    page = portal.client.get(f"/reports/{NAME}")
    assert "The disk is full." in text(page)
    assert "No space left on device: &lt;b&gt;" in page.text
    assert f"https://public/runs/{run_id}" in page.text
    before = portal.run_key(NAME)
    time.sleep(0.05)
    assert portal.client.post(f"/reports/{NAME}/again").status_code == 303
    assert portal.run_key(NAME) != before
    assert state(portal, NAME) == "waiting"
    assert portal.requests() == {NAME: QUESTION}


def test_a_run_that_somebody_ended_and_one_whose_files_are_gone_have_failed(local):
    for name in ("a", "b"):
        local.client.post("/", data={**FORM, "name": name})
    local.dagster.add(local.run_key("a"), "CANCELED")
    local.dagster.add(local.run_key("b"), "SUCCESS", ended=1.0)
    again()
    assert "The run was cancelled" in text(local.client.get("/reports/a"))
    assert "its files are gone" in text(local.client.get("/reports/b"))


def test_run_of_another_location_is_none_of_the_portal(local):
    local.client.post("/", data={**FORM, "name": "a"})
    local.dagster.add(local.run_key("a"), "CANCELED", location="another")
    again()
    assert "The run was cancelled" not in text(local.client.get("/reports/a"))


def test_a_report_is_made_again_only_where_there_is_a_reason_to(local):
    local.client.post("/", data=FORM)
    local.answer(NAME)
    again()
    before = local.run_key(NAME)
    assert local.client.post(f"/reports/{NAME}/again").status_code == 303
    assert local.run_key(NAME) == before
    # While the report was made: its numbers are older, whatever its time says.
    _load_again(local, LOADED + timedelta(seconds=1))
    again()
    page = local.client.get(f"/reports/{NAME}")
    assert "Loaded after this report was generated: 2023-01." in text(page)
    time.sleep(0.05)
    local.client.post(f"/reports/{NAME}/again")
    assert local.run_key(NAME) != before
    page = local.client.get(f"/reports/{NAME}")
    assert "The report is being updated. This version was generated on 1 February 2026" in text(
        page
    )
    assert "1,932,504 pickups" in text(page)
    assert local.client.get(f"/api/reports/{NAME}").json()["result"]["by_hour"][18][5] == 18_005
    local.answer(NAME)
    again()
    assert state(local, NAME) == "done"


def _load_again(portal: Portal, moment: datetime) -> None:
    told = available.told(portal.root)
    january, *others = told.months
    months = (january.model_copy(update={"loaded": moment}), *others)
    available.tell(portal.root, told.model_copy(update={"months": months}))


def test_a_request_that_was_changed_by_hand_meanwhile_is_not_written_over(local, monkeypatch):
    local.client.post("/", data=FORM)
    local.dagster.add(local.run_key(NAME), "FAILURE")
    again()
    assert state(local, NAME) == "failed"
    look = local.app.state.office.follow

    async def follow_slowly(name: str) -> View:
        view = await look(name)
        local.put(NAME, json.dumps({**QUESTION, "borough": "Queens"}))
        return view

    monkeypatch.setattr(local.app.state.office, "follow", follow_slowly)
    refused = local.client.post(f"/reports/{NAME}/again")
    assert refused.status_code == 409
    assert "changed meanwhile" in text(refused)
    assert local.requests()[NAME]["borough"] == "Queens"


def test_a_request_that_was_rejected_and_would_pass_now_can_be_sent_again(portal):
    portal.put("jan", json.dumps({**QUESTION, "zone": "Soho"}))
    for key, reason in (("", "no zone"), (portal.run_key("jan"), "no zone")):
        outputs.report_error(portal.root, "jan.json", reason, key)
    portal.put("none", json.dumps({**QUESTION, "zone": "Atlantis"}))
    outputs.report_error(portal.root, "none.json", "no zone", portal.run_key("none"))
    again()
    assert "Try again" in portal.client.get("/reports/jan").text
    assert "Try again" not in portal.client.get("/reports/none").text
    time.sleep(0.05)
    portal.client.post("/reports/jan/again")
    assert state(portal, "jan") == "waiting"


def test_a_failure_is_known_when_dagster_has_forgotten_it_and_does_not_count_as_waiting(
    portal, monkeypatch
):
    monkeypatch.setattr("adhoc_reports.portal.office.MAX_WAITING", 1)
    portal.client.post("/", data={**FORM, "name": "a"})
    again()
    assert portal.client.post("/", data={**FORM, "name": "b"}).status_code == 503
    _fail(portal, "a")
    again()
    found = portal.client.get("/api/reports/a").json()
    assert (found["state"], found["reason"]) == ("failed", "The disk is full.")
    assert portal.client.get("/api/reports?state=failed").json()["reports"][0]["reason"]
    assert "The disk is full." in text(portal.client.get("/reports"))
    page = portal.client.get("/reports/a")
    assert "<details><summary>Error details</summary>" in page.text
    assert "https://public/runs/gone" in page.text
    assert portal.client.post("/", data={**FORM, "name": "b"}).status_code == 303
    assert portal.client.post("/reports/a/again").status_code == 503
    monkeypatch.setattr("adhoc_reports.portal.office.MAX_WAITING", 2)
    time.sleep(0.05)
    portal.client.post("/reports/a/again")
    again()
    assert state(portal, "a") == "waiting"  # what failed is the file of before


def _fail(portal: Portal, name: str) -> None:
    failure = Failure(
        request=f"{name}.json",
        reason="The disk is full.",
        details="OSError: [Errno 28]",
        run_key=portal.run_key(name),
        run_id="gone",
    )
    path = outputs.failure_path(portal.root, name)
    storage.write_text(path, failure.model_dump_json())


def test_a_request_whose_run_was_deleted_has_failed_and_does_not_wait_for_ever(local, monkeypatch):
    local.client.post("/", data={**FORM, "name": "a"})
    path = str(local.root.requests / "a.json")
    os.utime(path, (time.time() - 7200, time.time() - 7200))
    again()
    found = local.client.get("/api/reports/a").json()
    assert found["state"] == "failed"
    assert "No run found" in found["reason"]
    local.dagster.loaded = False  # then it may only not have been seen yet
    again()
    assert state(local, "a") == "waiting"
    monkeypatch.setattr("adhoc_reports.portal.office.MAX_WAITING", 1)
    assert local.client.post("/", data={**FORM, "name": "b"}).status_code == 503
    os.utime(path, (1e9, 1e9))
    again()
    assert local.client.post("/", data={**FORM, "name": "b"}).status_code == 303


def test_what_a_report_is_of_is_told_by_the_file_s_version_and_not_by_times(local):
    local.put("future", json.dumps(QUESTION))
    path = str(local.root.requests / "future.json")
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    local.dagster.add(local.run_key("future"), "SUCCESS", ended=1.0)
    local.answer("future")
    local.put("past", json.dumps(QUESTION))
    local.answer("past")
    local.put("past", "{")
    os.utime(str(local.root.requests / "past.json"), (1e9, 1e9))
    outputs.report_error(local.root, "past.json", "no JSON", local.run_key("past"))
    again()
    assert state(local, "future") == "done"
    assert state(local, "past") == "rejected"


def test_a_request_that_was_written_is_followed_though_the_storage_cannot_be_looked_at(
    local, monkeypatch
):
    local.client.get("/")
    monkeypatch.setattr(type(local.root.outputs.fs), "ls", _broken)
    again()
    sent = local.client.post("/", data=FORM)
    assert sent.status_code == 303
    page = local.client.get(sent.headers["location"])
    assert page.status_code == 200
    assert "Received" in text(page)
    assert "The storage does not answer" in text(page)
    sent = local.client.post("/api/requests", json={**QUESTION, "name": "jan"})
    assert (sent.status_code, sent.json()["state"]) == (201, "waiting")
    assert local.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
    for path in ("/reports/other", "/api/reports/other"):
        assert local.client.get(path).status_code == 503  # it may well be there
    monkeypatch.undo()
    again()
    assert state(local, "jan") == "waiting"
    assert local.client.get("/reports/other").status_code == 404


def _broken(*_args: object, **_options: object) -> None:
    raise TimeoutError("slow down")


def test_without_a_name_the_same_question_leads_to_the_newest_that_was_asked(portal):
    portal.put("by hand", json.dumps(QUESTION))
    again()
    assert portal.client.post("/", data=FORM).headers["location"] == "/reports/by%20hand"
    assert portal.client.post("/", data={**FORM, "name": "mine"}).status_code == 303
    assert portal.client.post("/api/requests", json=QUESTION).json()["name"] == "mine"
    assert sorted(portal.requests()) == ["by hand", "mine"]
    for name in ("by hand", "mine"):
        _fail(portal, name)
    again()
    assert portal.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"


def test_dagster_that_hangs_does_not_hold_up_each_page(tmp_path):
    class Hangs(httpx2.AsyncBaseTransport):
        asked = 0

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.asked += 1
            await asyncio.sleep(0.2)
            raise httpx2.ReadTimeout("slow")

    root, hangs = DataRoot.at(str(tmp_path)), Hangs()
    available.tell(root, AVAILABLE)
    app = create_app(root, Dagster("http://dagster", "", hangs), hosts=["testserver"])
    with TestClient(app, follow_redirects=False) as client:
        client.post("/", data=FORM)
        for path in ("/", f"/reports/{NAME}", f"/reports/{NAME}"):
            assert "Dagster, which makes the reports, does not answer" in text(client.get(path))
    assert hangs.asked == 1


def test_many_who_wait_ask_dagster_once_a_second(local):
    local.client.post("/", data=FORM)
    state(local, NAME)
    before = local.dagster.asked
    for _ in range(10):
        assert state(local, NAME) == "waiting"
    assert local.dagster.asked - before <= 4


def test_the_api_tells_what_keeps_requests_from_being_answered(local):
    local.client.post("/", data=FORM)
    assert local.client.get(f"/api/reports/{NAME}").json()["trouble"] == []
    local.dagster.away = True
    again()
    for path in (f"/api/reports/{NAME}", "/api/reports"):
        (trouble,) = local.client.get(path).json()["trouble"]
        assert "does not answer" in trouble


def test_the_portal_s_own_machine_may_ask_after_its_health_whatever_its_names_are(tmp_path):
    dagster = Dagster("http://dagster", "", httpx2.MockTransport(FakeDagster().answer))
    app = create_app(
        DataRoot.at(str(tmp_path)), dagster, hosts=allowed_hosts("reports.example.com, b")
    )
    for host, status in {"127.0.0.1:8000": 200, "reports.example.com": 200, "other": 400}.items():
        client = TestClient(app, base_url=f"http://{host}")
        assert client.get("/healthz").status_code == status


def test_a_changed_request_is_on_its_way_until_it_is_answered_itself(portal):
    portal.put("jan", json.dumps(QUESTION))
    portal.answer("jan")
    again()
    assert state(portal, "jan") == "done"
    time.sleep(0.05)
    portal.put("jan", json.dumps({**QUESTION, "borough": "Queens"}))
    again()
    assert state(portal, "jan") == "waiting"
    portal.answer("jan", borough="Queens")
    again()
    assert state(portal, "jan") == "done"


def test_what_keeps_requests_from_being_answered_is_said_and_they_are_kept(local):
    for change, sentence in (
        ({"away": True}, "does not answer"),
        ({"away": False, "loaded": False}, "code is not loaded"),
        ({"loaded": True, "sensor": "STOPPED"}, "switched off"),
        ({"sensor": "RUNNING", "daemon": False}, "daemon, which takes requests, does not run"),
        ({"daemon": True, "queue": False}, "daemon, which starts what is queued, does not run"),
        ({"queue": True, "ticks": ("STARTED", "FAILURE")}, "The sensor that takes requests fails"),
    ):
        vars(local.dagster).update(change)
        again()
        for page in ("/", "/reports"):
            assert sentence in text(local.client.get(page))
        sent = local.client.post("/", data={**FORM, "name": sentence})
        assert sent.status_code == 303
        page = local.client.get(sent.headers["location"])
        assert sentence in text(page)
        assert "Received" in text(page)
    assert len(local.requests()) == 6
    local.dagster.ticks = ("SKIPPED", "FAILURE")
    again()
    assert "Note:" not in text(local.client.get("/"))


def test_storage_that_does_not_answer_is_said_and_what_was_seen_stays(local, monkeypatch):
    local.answer("jan")
    assert "Manhattan" in text(local.client.get("/reports"))

    def broken(*_args: object, **_options: object) -> None:
        raise TimeoutError("slow down")

    monkeypatch.setattr(type(local.root.outputs.fs), "ls", broken)
    again()
    page = local.client.get("/reports")
    assert "The storage does not answer. What you see is what was there before" in text(page)
    assert "Manhattan" in text(page)
    monkeypatch.setattr("adhoc_reports.portal.archive.storage.write_new", broken)
    refused = local.client.post("/", data={**FORM, "name": "other"})
    assert refused.status_code == 503
    assert "The storage does not answer. Nothing is lost" in text(refused)
    assert 'value="2023-01-10"' in refused.text
    monkeypatch.undo()
    again()
    assert "storage" not in text(local.client.get("/reports"))


def test_slow_storage_does_not_hold_up_a_page_for_long(local, monkeypatch):
    monkeypatch.setattr("adhoc_reports.portal.office.PATIENCE_SECONDS", 0.2)
    local.answer("jan")
    go_on = threading.Event()
    monkeypatch.setattr(
        "adhoc_reports.portal.api._content", lambda path: go_on.wait(30) and path.read_bytes()
    )
    assert local.client.get("/reports/jan/chart.png").status_code == 503
    go_on.set()
    assert local.client.get("/reports/jan/chart.png").status_code == 200


def test_a_storage_that_was_never_seen_is_answered_with_503(tmp_path, monkeypatch):
    with portal_at(DataRoot.at(str(tmp_path))) as portal:

        def broken(*_args: object) -> None:
            raise PermissionError("denied")

        monkeypatch.setattr(intake, "list_requests", broken)
        assert portal.client.get("/").status_code == 503
        assert portal.client.get("/api/reports").json()["reason"].startswith("The storage does not")
        assert portal.client.get("/healthz").text == "ok"


# Look


def test_a_report_has_map_numbers_files_and_what_it_rests_on(portal):
    portal.answer("jan")
    page = portal.client.get("/reports/jan")
    said = text(page)
    assert "1,932,504 pickups" in said
    assert "1,932,504 pickups in 15 days" in said
    assert "Busiest: Saturday, 23 to 24 h, 11,503 pickups on average" in said
    assert page.text.count('<i class="c') == 2 * (168 + 8)  # averages, totals and their legends
    assert 'title="Tuesday, 18 to 19 h: 6,001 on average"' in page.text
    assert 'title="Tuesday, 18 to 19 h: 18,002 in total"' in page.text
    assert "<td>6,001</td>" in page.text
    assert "<td>18,002</td>" in page.text
    assert "January 2023 2 January 2026, 03:04 UTC 1,234,567" in said
    assert "Picked up elsewhere. 7,654,321" in said
    assert "http://testserver/reports/jan" in said
    assert "https://public/runs/the-run" in said
    chart = portal.client.get("/reports/jan/chart.png")
    assert (chart.headers["content-type"], chart.content) == ("image/png", b"\x89PNG")
    numbers = portal.client.get("/reports/jan/numbers.csv")
    assert numbers.text.startswith("hour_of_day,Sunday")
    assert numbers.headers["content-disposition"] == "attachment; filename*=UTF-8''jan.csv"


def test_report_page_names_taxis_area_and_days_per_weekday(local):
    local.answer("jan")
    page = local.client.get("/reports/jan")
    assert "<h1>Yellow taxi pickups in Manhattan</h1>" in page.text
    assert "<title>Done: Yellow taxi pickups in Manhattan" in page.text
    for day in ("Sun ×2", "Mon ×2", "Tue ×3", "Wed ×2"):
        assert f'<span class="label">{day}</span>' in page.text


def test_toggle_needs_no_script_of_the_page(local):
    local.answer("jan")
    page = local.client.get("/reports/jan").text
    views = re.findall(r'<input type="radio" name="view" value="(\w+)" (checked)?', page)
    assert views == [("averages", "checked"), ("totals", "")]
    assert '<fieldset class="views" id="views" hidden>' in page  # until portal.js works
    tables = re.findall(r'<div class="scroll" data-view="(\w+)"([^>]*)>', page)
    assert [name for name, _ in tables] == ["averages", "totals"]
    assert all("hidden" not in attributes for _, attributes in tables)
    assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page)


def test_one_day_is_shown_as_bars(local):
    local.answer("day", start_date="2023-01-10", end_date="2023-01-11")
    page = local.client.get("/reports/day")
    assert 'id="heatmap"' not in page.text
    heights = [float(each) for each in re.findall(r'<rect [^>]*height="([\d.]+)"', page.text)]
    assert heights == [round(100 * (1000 * hour + 2) / 23_002, 1) for hour in range(24)]
    assert "<title>Tuesday, 23 to 24 h: 23,002</title>" in page.text
    assert page.text.count("<tbody>") == 3  # one table of numbers, two of the data used
    thumbnail = local.client.get("/reports").text.split("<svg")[1].split("</svg>")[0]
    assert re.findall(r"M(\d+) (\d)", thumbnail)[::23] == [("0", "6"), ("23", "0")]


def test_one_of_each_weekday_has_no_toggle(local):
    local.answer("week", start_date="2023-01-10", end_date="2023-01-17")
    page = local.client.get("/reports/week")
    assert 'name="view"' not in page.text
    assert 'title="Friday, 18 to 19 h: 18,005"' in page.text


def test_report_of_an_earlier_release_is_shown(local):
    report = local.answer("old").model_dump(mode="json", exclude={"weekdays", "publishers"})
    storage.write_text(outputs.report_path(local.root, "old"), json.dumps(report))
    page = local.client.get("/reports/old")
    assert 'title="Tuesday, 18 to 19 h: 6,001 on average"' in page.text
    assert "Source: not recorded." in text(page)
    found = local.client.get("/api/reports/old").json()["result"]
    assert found["days"] == [2, 2, 3, 2, 2, 2, 2]
    assert found["publishers"] == []


def test_report_without_a_loaded_day_is_shown(local):
    local.answer("none", weekdays=(0,) * 7, by_hour=((0,) * 7,) * 24)
    page = local.client.get("/reports/none")
    assert "0 pickups in 0 days" in text(page)
    assert "Busiest" not in text(page)


# Provenance


def test_pages_name_the_publishers_of_their_data(local):
    local.answer("jan", publishers=(provenance.TLC,))
    _publish(local, provenance.SYNTHETIC)
    for path in ("/", "/reports", "/api", "/?last_day=x"):
        page = text(local.client.get(path))
        assert "Synthetic sample data" in page
        assert f"Source: {provenance.SYNTHETIC}" in page
    page = text(local.client.get("/reports/jan")).replace("&amp;", "&")
    assert "ynthetic" not in page
    assert page.count(f"Source: {provenance.TLC}") == 2  # in the section and the footer
    assert "Source" not in text(local.client.get("/nothing"))


def test_report_of_sample_data_says_so_when_the_data_is_real(local):
    local.answer("jan", publishers=(provenance.SYNTHETIC,))
    _publish(local, provenance.TLC)
    assert "Synthetic sample data" in text(local.client.get("/reports/jan"))
    assert "ynthetic" not in text(local.client.get("/"))
    assert local.client.get("/api/available").json()["publishers"] == [provenance.TLC]
    _publish(local, provenance.TLC, provenance.SYNTHETIC)
    assert "Partly synthetic sample data" in text(local.client.get("/"))


def _publish(portal: Portal, *publishers: str) -> None:
    told = available.told(portal.root)
    available.tell(portal.root, told.model_copy(update={"publishers": publishers}))
    again()


# The source of new months


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("current", ""),
        ("pending", "2023-04 is not published yet; next look at 20:02 UTC."),
        (
            "unreachable",
            "The source of the data has been unreachable since 5 May 2023, 14:02 UTC. Could not "
            "reach TLC for 2023-04; next try at 20:02 UTC.",
        ),
    ],
)
def test_form_says_when_newer_data_can_be_expected(tmp_path, state, said):
    moment = datetime(2023, 5, 5, 14, 2, tzinfo=UTC)
    message = {
        "unreachable": "Could not reach TLC for 2023-04; next try at 20:02 UTC.",
        "pending": said,
    }.get(state, "All 46 published months are loaded and current.")
    root = DataRoot.at(str(tmp_path))
    SourceStatus(
        service="yellow", state=state, since=moment, next_look=moment, message=message
    ).save(root)
    with portal_at(root) as portal:
        page = text(portal.client.get("/"))
        assert f"last day are counted. {said}".strip() in page
        available.tell(root, Available())
        again()
        nothing = f"no report can be created. {said or 'Come back later.'}"
        assert nothing in text(portal.client.get("/"))


def test_another_team_s_files_are_not_given_out(portal):
    outputs.chart_path(portal.root, "manhattan_map").write_bytes(b"\x89PNG")
    for name in ("manhattan_map", "..%2Frequests%2Fx", "%2e%2e", "a%00b", "x" * 300, "%ff"):
        for path in (f"/reports/{name}", f"/reports/{name}/chart.png", f"/api/reports/{name}"):
            assert portal.client.get(path).status_code == 404


# Find


def test_all_are_found_newest_first_with_pictures(portal):
    for number, borough in enumerate(("Queens", "Manhattan", "Queens")):
        portal.put(f"r{number}", json.dumps({**QUESTION, "borough": borough}))
        portal.answer(f"r{number}")
        time.sleep(0.02)
    again()
    page = portal.client.get("/reports")
    assert re.findall(r'href="/reports/(r\d)"', page.text) == ["r2", "r1", "r0"]
    assert page.text.count("<svg") == 3
    page = portal.client.get("/reports", params={"q": "QUEENS 2023-01"})
    assert re.findall(r'href="/reports/(r\d)"', page.text) == ["r2", "r0"]
    assert "No reports match “nothing like it”." in text(
        portal.client.get("/reports?q=nothing+like+it")
    )
    found = portal.client.get("/api/reports", params={"q": "r1"}).json()
    assert (found["total"], found["reports"][0]["name"]) == (1, "r1")
    found = portal.client.get("/api/reports", params={"limit": 1, "offset": 2}).json()
    assert (found["total"], [each["name"] for each in found["reports"]]) == (3, ["r0"])


def test_many_reports_are_on_several_pages(local):
    for number in range(30):
        local.put(f"r{number}", json.dumps(QUESTION))
    again()
    first = local.client.get("/reports?q=manhattan")
    assert first.text.count('class="card"') == 24
    assert 'href="/reports?q=manhattan&amp;page=2"' in first.text
    assert local.client.get("/reports?page=2").text.count('class="card"') == 6
    assert local.client.get("/reports?page=9").text.count('class="card"') == 0


def test_rejected_requests_are_found_with_their_reason(portal):
    portal.put("half", '{"borough": "Atlantis"')
    portal.put("a\\x", json.dumps(QUESTION))
    portal.put("jan", json.dumps(QUESTION))
    outputs.report_error(portal.root, "gone.json", "gone.json: <script>alert(1)</script>")
    again()
    page = portal.client.get("/reports?rejected=true")
    said = text(page)
    assert "3 rejected requests, newest first." in said
    assert "half.json is not JSON" in said
    assert "cannot be the name of a request" in said
    assert "<script>alert" not in page.text
    assert "jan" not in re.findall(r'href="/reports/([^"]*)"', page.text)
    assert "half.json is not JSON" in text(portal.client.get("/reports/half"))
    assert state(portal, "gone") == "rejected"


def test_a_rejected_request_that_is_mended_is_on_its_way(portal):
    portal.put("jan", "{")
    outputs.report_error(portal.root, "jan.json", "jan.json is not JSON")
    again()
    assert state(portal, "jan") == "rejected"
    time.sleep(0.05)
    portal.put("jan", json.dumps(QUESTION))
    again()
    assert state(portal, "jan") == "waiting"


def test_files_that_are_none_of_ours_do_no_harm(portal):
    portal.answer("jan")
    for name, content in {
        "x.report.json": "{}",
        "y.error.json": "[",
        "z.report.json": "1" * 100,
        ".jan.report.json.0.partial": "{",
        "notes.txt": "",
    }.items():
        (portal.root.outputs / name).write_text(content)
    portal.put("large", " " * (MAX_BYTES + 1))
    again()
    found = portal.client.get("/api/reports").json()["reports"]
    assert {each["name"]: each["state"] for each in found} == {"jan": "done", "large": "rejected"}


def test_names_that_are_not_utf_8_are_shown_under_safe_ones(local):
    local.root.requests.mkdir()
    with open(os.fsencode(str(local.root.requests)) + b"/a\xff.json", "w") as file:
        file.write(json.dumps(QUESTION))
    with open(os.fsencode(str(local.root.outputs)) + b"/a\xff.error.json", "w") as file:
        file.write(json.dumps({"request": "x", "reason": "y"}))
    again()
    assert local.client.get("/reports").status_code == 200
    (found,) = local.client.get("/api/reports").json()["reports"]
    assert re.fullmatch(r"a_-[0-9a-f]{8}", found["name"])
    assert local.client.get(found["page"]).status_code == 200


# API


def test_the_api_asks_once_follows_and_fetches(portal):
    sent = portal.client.post("/api/requests", json={**QUESTION, "name": "jan"})
    assert (sent.status_code, sent.headers["location"]) == (201, "/api/reports/jan")
    assert sent.json()["state"] == "waiting"
    assert portal.client.post("/api/requests", json={**QUESTION, "name": "jan"}).status_code == 200
    portal.answer("jan")
    again()
    done = portal.client.get("/api/reports/jan").json()
    assert done["trips"] == 1_932_504
    assert done["result"]["by_hour"][18][5] == 18_005
    assert done["result"]["basis"]["months"][0]["loaded"] == LOADED.isoformat().replace(
        "+00:00", "Z"
    )
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
def test_the_api_refuses_with_field_and_reason(local, content, field, reason):
    headers = {"content-type": "application/json"}
    refused = local.client.post("/api/requests", content=content, headers=headers)
    assert refused.status_code in (400, 422)
    answer = refused.json()
    assert reason in (answer["fields"][field] if field else answer["reason"])
    assert not local.root.requests.exists()


# Safe


def test_pages_of_other_sites_can_send_nothing(local):
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://elsewhere"},
        {"origin": "null"},
    ):
        for path in ("/", "/api/requests", "/reports/x/again"):
            assert local.client.post(path, data=FORM, headers=headers).status_code == 403
    assert not local.root.requests.exists()
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://testserver"}):
        assert local.client.post("/", data=FORM, headers=headers).status_code == 303


def test_the_api_takes_json_alone_which_forms_of_other_sites_cannot_send(local):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        content, headers = json.dumps(QUESTION), {"content-type": kind}
        sent = local.client.post("/api/requests", content=content, headers=headers)
        assert sent.status_code == 422
    assert not local.root.requests.exists()


def test_other_hosts_names_are_refused(local):
    assert local.client.get("/", headers={"host": "elsewhere"}).status_code == 400


def test_every_answer_has_the_browser_s_guards(local):
    local.answer("jan")
    for path in ("/", "/reports/jan", "/nothing", "/static/portal.js", "/reports/jan/chart.png"):
        headers = local.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_what_is_too_large_is_refused_whether_it_says_so_or_not(local):
    large = b"name=" + b"x" * MAX_BODY_BYTES
    assert local.client.post("/", content=large).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        yield from (large[start : start + 1000] for start in range(0, len(large), 1000))

    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert local.client.post("/", content=in_pieces(), headers=kind).status_code == 413
    kind = {"content-type": "application/json"}
    assert local.client.post("/api/requests", content=in_pieces(), headers=kind).status_code == 413


def test_a_client_that_sends_too_much_has_to_wait(tmp_path):
    now = [0.0]
    limit = RateLimit(burst=3, per_second=0.5, clock=lambda: now[0])
    with portal_at(DataRoot.at(str(tmp_path)), limit) as portal:
        answers = [portal.client.post("/", data=FORM) for _ in range(4)]
        assert [each.status_code for each in answers] == [303, 303, 303, 429]
        assert answers[-1].headers["retry-after"] == "3"
        assert portal.client.get("/").status_code == 200
        now[0] += 2
        assert portal.client.post("/", data=FORM).status_code == 303
        assert portal.client.post("/", data=FORM).status_code == 429


def test_a_client_that_looks_too_often_has_to_wait(tmp_path):
    dagster = Dagster("http://dagster", "", httpx2.MockTransport(FakeDagster().answer))
    limit = RateLimit(burst=2, per_second=1, clock=lambda: 0.0)
    root = DataRoot.at(str(tmp_path))
    app = create_app(root, dagster, hosts=["testserver"], read_limit=limit)
    with TestClient(app) as client:
        answers = [client.get("/api/reports/x/chart.png").status_code for _ in range(3)]
        assert answers == [404, 404, 429]
        assert client.get("/healthz").status_code == 200


def test_no_more_than_so_many_wait(local, monkeypatch):
    monkeypatch.setattr("adhoc_reports.portal.office.MAX_WAITING", 2)
    assert MAX_WAITING > 200
    for name in ("a", "b"):
        assert local.client.post("/", data={**FORM, "name": name}).status_code == 303
    refused = local.client.post("/", data={**FORM, "name": "c"})
    assert refused.status_code == 503
    assert "Too many requests are waiting" in text(refused)


def test_what_people_write_is_text_in_every_page(local):
    name = '<b onclick="x">\'&'
    local.put(name, json.dumps(QUESTION))  # is rejected, and shown with the reason
    sent = local.client.post("/", data={**FORM, "area": "Queens/<b>&'\"", "name": "'&"})
    page = local.client.get(sent.headers["location"])
    for path in ("/", "/reports", f"/reports?q={name}", sent.headers["location"]):
        page = local.client.get(path)
        assert page.status_code == 200
        assert "<b" not in page.text.replace("<body", "").replace("<button", "")


def test_no_page_names_another_host(local):
    local.answer("jan")
    for path in (
        "/",
        "/reports",
        "/reports/jan",
        "/api",
        "/static/portal.css",
        "/static/portal.js",
    ):
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+)", local.client.get(path).text))
        assert hosts <= {"testserver", "public", "www.w3.org"}


def test_the_first_page_is_small(local):
    for number in range(6):
        local.answer(f"r{number}")
    zones = {"Queens": tuple(f"A zone with a rather long name {n}" for n in range(260))}
    available.tell(local.root, available.told(local.root).model_copy(update={"zones": zones}))
    again()
    files = ("/", "/static/portal.css", "/static/portal.js", "/static/icon.svg")
    assert sum(len(local.client.get(path).content) for path in files) < 100_000


def test_portal_and_definitions_do_not_import_each_other_s_frameworks():
    code = "import sys, {module}\nprint([name for name in ({others}) if name in sys.modules])"
    for module, others in (
        ("adhoc_reports.portal.__main__", "'dagster', 'pandas', 'matplotlib'"),
        ("adhoc_reports.definitions", "'fastapi', 'starlette', 'uvicorn', 'httpx2'"),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", code.format(module=module, others=others)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == "[]"
