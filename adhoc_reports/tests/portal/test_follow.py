"""Follow a request: its status, and notices about a platform or storage that does not respond."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upath import UPath

from adhoc_reports.lib import catalog
from adhoc_reports.lib.catalog import IntakeStatus
from adhoc_reports.lib.outcome import Status
from adhoc_reports.portal import service
from taxi_shared import storage
from taxi_shared.source_status import format_time
from taxi_shared.storage import DataRoot

from .support import FORM, NAME, QUESTION, Portal, new_portal, portal_at, text

SLOW = "Reports are taking longer than usual."
SILENT = "The platform is not looking for requests at the moment"
STALE = "The storage is not responding. This page shows its last known state."


def broken(*_args: object, **_options: object) -> None:
    raise TimeoutError("slow down")


def test_request_goes_from_received_to_done(portal: Portal) -> None:
    portal.client.post("/", data=FORM)
    assert portal.state(NAME) == "received"
    portal.refresh()
    assert portal.state(NAME) == "received"
    portal.settle(NAME, Status.GENERATING)
    assert portal.state(NAME) == "generating"
    page = portal.client.get(f"/reports/{NAME}")
    assert steps_of(page.text) == ["Received", "Generating", "Done"]
    assert '<li aria-current="step">Generating</li>' in page.text
    assert f'data-follow="/api/reports/{NAME}"' in page.text
    assert '<meta http-equiv="refresh"' in page.text
    portal.answer(NAME)
    assert portal.state(NAME) == "done"
    page = portal.client.get(f"/reports/{NAME}")
    assert 'data-follow=""' in page.text
    assert '<meta http-equiv="refresh"' not in page.text


def test_api_answers_once_the_state_changes(portal: Portal) -> None:
    portal.put(NAME)
    generating = portal.settle(NAME, Status.GENERATING)
    failed = generating.model_copy(update={"status": Status.FAILED, "reason": "The disk is full."})
    begin = time.monotonic()
    writer = threading.Timer(0.5, portal.store.write_outcome, [NAME, failed])
    writer.start()
    answer = portal.client.get(f"/api/reports/{NAME}?known=generating").json()
    writer.join()
    assert answer["state"] == "failed"
    assert 0.5 <= time.monotonic() - begin < service.FOLLOW_SECONDS


def test_api_answers_in_time_without_a_change(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FOLLOW_SECONDS", 0.3)
    portal.put(NAME)
    assert portal.client.get(f"/api/reports/{NAME}?known=received").json()["state"] == "received"


def steps_of(page: str) -> list[str]:
    """The steps that a page shows."""
    steps = page.split('<ol class="steps"')[1].split("</ol>", maxsplit=1)[0]
    return [line.split(">")[1].split("<")[0] for line in steps.splitlines() if "<li" in line]


def test_failure_says_why_and_keeps_the_previous_report(portal: Portal) -> None:
    portal.put("jan")
    report = portal.answer("jan")
    portal.fail("jan", details="[Errno 28] No space left on device: <b>", report=report)
    page = portal.client.get("/reports/jan")
    assert "The disk is full." in text(page)
    assert "<details><summary>Error details</summary>" in page.text
    assert "No space left on device: &lt;b&gt;" in page.text
    assert "https://public/runs/the-run" in page.text
    assert "This version was generated on 1 February 2026" in text(page)
    assert "1,932,504 pickups" in text(page)
    assert "The disk is full." in text(portal.client.get("/reports"))
    found = portal.client.get("/api/reports?state=failed").json()["reports"]
    assert [each["reason"] for each in found] == ["The disk is full."]


def test_changed_request_is_received_until_it_is_answered(portal: Portal) -> None:
    portal.put("jan")
    portal.answer("jan")
    assert portal.states() == {"jan": "done"}
    portal.put("jan", {**QUESTION, "borough": "Queens"})
    assert portal.states() == {"jan": "received"}
    assert "1,932,504" not in portal.client.get("/reports/jan").text  # those of Manhattan
    portal.answer("jan")
    assert portal.states() == {"jan": "done"}


def test_states_depend_on_content_and_not_on_times(local: Portal) -> None:
    names = ("done", "failed", "rejected", "generating")
    for name in names:
        local.put(name)
        local.settle(name, Status(name))
    expected = {name: name for name in names}
    assert local.states() == expected
    for path in local.root.requests.iterdir():  # as a restore from a backup does
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        Path(str(path)).chmod(0o600)
        os.utime(str(path), (4e9, 4e9))
    assert local.states() == expected


@pytest.mark.parametrize("seconds", [1e12, -1e10])
def test_file_of_any_time_breaks_no_page(local: Portal, seconds: float) -> None:
    local.put("jan")
    os.utime(str(local.root.requests / "jan.json"), (seconds, seconds))
    local.refresh()
    for path in ("/", "/reports", "/reports/jan", "/api/reports"):
        assert local.client.get(path).status_code == 200


# Notices


def look_for_requests(portal: Portal, seconds_ago: float) -> datetime:
    """Set when the sensor looked for requests last."""
    checked = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    path = catalog.intake_path(portal.root)
    storage.write_text(path, IntakeStatus(checked=checked).model_dump_json())
    portal.refresh()
    return checked


def test_silent_sensor_is_said_and_requests_are_kept(local: Portal) -> None:
    look_for_requests(local, 50)
    assert "Note:" not in text(local.client.get("/"))
    checked = look_for_requests(local, 70)
    last = format_time(checked, datetime.now(UTC))
    sentence = f"{SILENT} (last at {last}). Requests are kept, and answered when it is back."
    for path in ("/", "/reports"):
        assert sentence in text(local.client.get(path))
    sent = local.client.post("/", data=FORM)
    assert sent.status_code == 303
    page = text(local.client.get(sent.headers["location"]))
    assert sentence in page
    assert "Received" in page
    for path in (f"/api/reports/{NAME}", "/api/reports"):
        (trouble,) = local.client.get(path).json()["trouble"]
        assert trouble.startswith(SILENT)
    look_for_requests(local, 0)
    assert local.client.get(f"/api/reports/{NAME}").json()["trouble"] == []


def test_sensor_that_never_looked_is_said(local: Portal) -> None:
    storage.remove(catalog.intake_path(local.root))
    local.refresh()
    assert f"{SILENT}. Requests are kept" in text(local.client.get("/"))


def test_slow_reports_are_said_unless_others_are_generated(local: Portal) -> None:
    local.put("waits")
    assert SLOW not in text(local.client.get("/"))
    minutes_ago = datetime.now(UTC) - timedelta(seconds=180)
    path = str(local.root.requests / "waits.json")
    os.utime(path, (minutes_ago.timestamp(), minutes_ago.timestamp()))
    local.answer("old")
    local.settle("old", Status.FAILED, updated=minutes_ago)
    assert SLOW in text(local.client.get("/"))
    local.settle("other", Status.GENERATING)
    assert SLOW not in text(local.client.get("/"))


# Storage


def test_sent_request_is_followed_while_folders_cannot_be_listed(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.client.get("/")
    with monkeypatch.context() as patch:
        patch.setattr(type(local.root.outputs.fs), "ls", broken)
        local.refresh()
        sent = local.client.post("/", data=FORM)
        assert sent.status_code == 303
        page = local.client.get(sent.headers["location"])
        assert page.status_code == 200
        assert "Received" in text(page)
        assert STALE in text(page)
        sent = local.client.post("/api/requests", json={**QUESTION, "name": "jan"})
        assert (sent.status_code, sent.json()["state"]) == (201, "received")
        assert local.client.post("/", data=FORM).headers["location"] == f"/reports/{NAME}"
        for path in ("/reports/other", "/api/reports/other"):
            assert local.client.get(path).status_code == 503  # it may exist
    local.refresh()
    assert local.state("jan") == "received"
    assert local.client.get("/reports/other").status_code == 404


def test_pages_show_the_last_state_while_storage_fails(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.answer("jan")
    assert "Manhattan" in text(local.client.get("/reports"))
    with monkeypatch.context() as patch:
        patch.setattr(type(local.root.outputs.fs), "ls", broken)
        patch.setattr("taxi_shared.storage.write_new", broken)
        local.refresh()
        page = text(local.client.get("/reports"))
        assert STALE in page
        assert "Manhattan" in page
        refused = local.client.post("/", data={**FORM, "name": "other"})
        assert refused.status_code == 503
        assert "The storage is not responding. Nothing is lost" in text(refused)
        assert 'value="2023-01-10"' in refused.text
    local.refresh()
    assert "storage" not in text(local.client.get("/reports"))


def test_slow_storage_does_not_hold_up_a_download(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.answer("jan")
    is_open, read = threading.Event(), storage.read_bounded

    def read_slowly(path: UPath, limit: int) -> bytes:
        is_open.wait(30)
        return read(path, limit)

    with monkeypatch.context() as patch:
        patch.setattr("adhoc_reports.portal.service.STORAGE_TIMEOUT_SECONDS", 0.2)
        patch.setattr("taxi_shared.storage.read_bounded", read_slowly)
        assert local.client.get("/reports/jan/chart.png").status_code == 503
    is_open.set()
    assert local.client.get("/reports/jan/chart.png").status_code == 200


def test_storage_that_was_never_read_is_answered_with_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        monkeypatch.setattr("adhoc_reports.lib.request_files.list_requests", broken)
        assert portal.client.get("/").status_code == 503
        reason = portal.client.get("/api/reports").json()["reason"]
        assert reason.startswith("The storage is not responding")
        assert portal.client.get("/api").status_code == 200
        assert portal.client.get("/healthz").text == "ok"


def test_unchanged_entries_stay_the_same_objects(local: Portal) -> None:
    store = new_portal(local.root).app.state.service.store
    local.put("a")
    local.put("b")
    before = store.scan().entries
    local.answer("b")
    after = store.scan().entries
    assert after["a"] is before["a"]
    assert (before["b"].status, after["b"].status) == (Status.RECEIVED, Status.DONE)
