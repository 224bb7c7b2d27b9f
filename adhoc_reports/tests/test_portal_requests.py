"""What the portal shows of request files that are renamed, restored, refused or of before."""

import json
import os
import shutil
import time

import pytest

from adhoc_reports.lib import outputs
from adhoc_reports.lib.failure import Failure
from adhoc_reports.lib.intake import list_requests
from taxi_shared import storage
from taxi_shared.storage import DataRoot

from .conftest import Office
from .portal import FORM, QUESTION, Portal, portal_at


@pytest.fixture
def portal(tmp_path):
    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        yield portal


def states(portal: Portal) -> dict[str, str]:
    """The state of every request, by name, as of now."""
    portal.app.state.office._snapshot.forget()
    reports = portal.client.get("/api/reports").json()["reports"]
    return {report["name"]: report["state"] for report in reports}


def reason(portal: Portal, name: str) -> str:
    text: str = portal.client.get(f"/api/reports/{name}").json()["reason"]
    return text


def fail(portal: Portal, name: str, run_key: str) -> None:
    failure = Failure(
        request=f"{name}.json", reason="The disk is full.", details="", run_key=run_key, run_id="r"
    )
    storage.write_text(outputs.failure_path(portal.root, name), failure.model_dump_json())


def restore(portal: Portal) -> None:
    """Replace the folder of requests by a copy, as a restore or another disk does."""
    folder = str(portal.root.requests)
    shutil.copytree(folder, f"{folder}.restored")
    shutil.rmtree(folder)
    os.rename(f"{folder}.restored", folder)


def test_states_survive_a_restore_of_the_requests(portal):
    for name in ("done", "failed", "rejected", "running"):
        portal.put(name, json.dumps(QUESTION))
    portal.answer("done")
    fail(portal, "failed", portal.run_key("failed"))
    outputs.report_error(portal.root, "rejected.json", "No such zone.", portal.run_key("rejected"))
    portal.dagster.add(portal.run_key("running"), "STARTED")
    expected = {name: name for name in ("done", "failed", "rejected", "running")}
    assert states(portal) == expected
    restore(portal)
    assert states(portal) == expected
    for path in portal.root.requests.iterdir():
        os.chmod(path, 0o600)
        os.utime(path, (4e9, 4e9))
    assert states(portal) == expected


def test_changed_request_is_not_done(portal):
    portal.put("jan", json.dumps(QUESTION))
    portal.answer("jan")
    assert states(portal) == {"jan": "done"}
    portal.put("jan", json.dumps({**QUESTION, "end_date": "2023-01-26"}))
    assert states(portal) == {"jan": "waiting"}


def test_failure_is_newer_than_a_report_of_the_same_content(portal):
    portal.put("jan", json.dumps(QUESTION))
    portal.answer("jan")
    fail(portal, "jan", portal.run_key("jan"))
    assert states(portal) == {"jan": "failed"}


def test_files_of_an_earlier_release_keep_their_states(portal):
    for name in ("done", "failed", "rejected", "changed"):
        portal.put(name, json.dumps(QUESTION))
    time.sleep(0.01)
    old = {file.name: f"{file.name} {file.hint}" for file in list_requests(portal.root.requests)}
    portal.answer("done", run_key=old["done.json"])
    portal.answer("changed", run_key="changed.json 0123456789abcdef")
    fail(portal, "failed", old["failed.json"])
    outputs.report_error(portal.root, "rejected.json", "No such zone.", old["rejected.json"])
    path = portal.root.requests / "changed.json"
    os.utime(path, (time.time() + 60, time.time() + 60))
    expected = {"done": "done", "failed": "failed", "rejected": "rejected", "changed": "waiting"}
    assert states(portal) == expected
    os.chmod(portal.root.requests / "done.json", 0o600)
    assert states(portal) == expected


def test_trying_again_starts_another_run_each_time(portal, instance):
    office = Office(portal.root, instance)
    assert portal.client.post("/", data={**FORM, "name": "jan"}).status_code == 303
    keys = []
    for _ in range(3):
        (request,) = office.tick().run_requests
        keys.append(request.run_key)
        fail(portal, "jan", request.run_key)
        assert states(portal) == {"jan": "failed"}
        assert portal.client.post("/reports/jan/again").status_code == 303
        assert states(portal) == {"jan": "waiting"}
    assert len(set(keys)) == 3
    assert portal.requests() == {"jan": QUESTION}


@pytest.mark.parametrize("name", ["a:b", "con", "jan.", " ", "a\u200bb", "what?"])
def test_report_of_a_name_refused_today_stays(portal, instance, name):
    portal.put(name, json.dumps(QUESTION))
    storage.write_text(outputs.report_path(portal.root, name), _old_report(portal, name))
    assert states(portal) == {name: "done"}
    page = portal.client.get(portal.client.get("/api/reports").json()["reports"][0]["page"])
    assert page.status_code == 200
    # The same question leads to it.
    assert portal.client.post("/", data=FORM).headers["location"] == str(page.url.raw_path, "ascii")
    portal.put(name, json.dumps({**QUESTION, "borough": "Queens"}))
    Office(portal.root, instance).tick()
    assert sorted(states(portal).values()) == ["done", "rejected"]


def _old_report(portal: Portal, name: str) -> str:
    """A report of a name of before, with its chart."""
    report = portal.answer("other").model_dump(mode="json")
    for path in (outputs.chart_path, outputs.numbers_path):
        os.rename(path(portal.root, "other"), path(portal.root, name))
    outputs.report_path(portal.root, "other").unlink()
    return json.dumps({**report, "request": {**report["request"], "filename": f"{name}.json"}})


def test_chart_of_a_name_refused_today_is_served(portal):
    storage.write_text(outputs.report_path(portal.root, "a:b"), _old_report(portal, "a:b"))
    assert portal.client.get("/reports/a%3Ab/chart.png").content == b"\x89PNG"
    assert portal.client.get("/reports/a%3Ab/numbers.csv").text.startswith("hour_of_day")
    assert portal.client.post("/reports/a%3Ab/again").status_code == 303
    assert not portal.root.requests.exists()


@pytest.mark.parametrize("name", ["100%", "a#b", "a&b=c+d", "[x]", "=1+1", "a;b", "é ü"])
def test_name_of_any_accepted_kind_has_a_page_and_files(portal, name):
    sent = portal.client.post("/", data={**FORM, "name": name})
    assert sent.status_code == 303
    portal.answer(name)
    assert states(portal) == {name: "done"}
    found = portal.client.get(f"/api{sent.headers['location']}").json()
    assert found["name"] == name
    assert portal.client.get(found["page"]).status_code == 200
    assert portal.client.get(found["chart"]).content == b"\x89PNG"
    assert portal.client.get(found["numbers"]).text.startswith("hour_of_day")


def test_file_with_a_bad_name_is_shown_with_the_reason(portal):
    for name in ("jan.json.txt", "Feb.JSON", "s3::x.json"):
        path = f"{portal.root.requests}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            json.dump(QUESTION, file)
    portal.put("mar", json.dumps(QUESTION))
    found = states(portal)
    assert sorted(found.values()) == ["rejected", "rejected", "rejected", "waiting"]
    reasons = {reason(portal, name) for name, state in found.items() if state == "rejected"}
    assert reasons == {
        "jan.json.txt cannot be the name of a request: rename it to jan.json: the name must end "
        "with .json",
        "Feb.JSON cannot be the name of a request: rename it to Feb.json: the name must end with "
        ".json",
        "s3::x.json cannot be the name of a request: leave out :, which Windows does not allow in "
        "a name",
    }


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a:b?", "Leave out : ?, which Windows does not allow in a name."),
        ("con", "Choose another name: con is the name of a device on Windows."),
        ("jan.", "Leave out the dot at the end."),
        ("a\u200bb", "Leave out invisible characters such as U+200B."),
        ("s3::x", "Leave out :, which Windows does not allow in a name."),
    ],
)
def test_form_says_how_to_change_a_name(portal, name, sentence):
    refused = portal.client.post("/", data={**FORM, "name": name})
    assert refused.status_code == 422
    assert sentence in refused.text
    assert not portal.root.requests.exists()


@pytest.mark.parametrize("name", ["Jän", "ja\u0308n", "JÄN"])
def test_name_that_differs_by_spelling_alone_is_taken(portal, name):
    assert portal.client.post("/", data={**FORM, "name": "jän"}).status_code == 303
    assert states(portal) == {"jän": "waiting"}
    assert portal.client.post("/", data={**FORM, "name": name}).status_code == 409
    assert portal.requests() == {"jän": QUESTION}
