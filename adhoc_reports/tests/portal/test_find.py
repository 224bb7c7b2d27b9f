"""Find reports and requests, and what else is in their folders."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from adhoc_reports.lib.index import ReportEntry
from adhoc_reports.lib.outcome import Status
from adhoc_reports.lib.request import MAX_BYTES
from adhoc_reports.portal.service import MAX_SEARCH_CHARACTERS
from taxi_shared import storage

from .support import FORM, QUESTION, Portal, text


def names(page: str) -> list[str]:
    """The reports that a page leads to."""
    return re.findall(r'href="/reports/([^"]+)"', page)


@pytest.fixture
def three(local: Portal) -> Portal:
    """A portal with three reports, one second apart."""
    for number, borough in enumerate(("Queens", "Manhattan", "Queens")):
        local.put(f"r{number}", {**QUESTION, "borough": borough})
        os.utime(str(local.root.requests / f"r{number}.json"), (1e9 + number, 1e9 + number))
        local.answer(f"r{number}")
    return local


def test_reports_are_listed_newest_first_with_pictures(three: Portal) -> None:
    page = three.client.get("/reports").text
    assert names(page) == ["r2", "r1", "r0"]
    assert page.count("<svg") == 3


def test_search_finds_reports_with_all_words(three: Portal) -> None:
    page = three.client.get("/reports", params={"q": "QUEENS 2023-01"})
    assert names(page.text) == ["r2", "r0"]
    nothing = text(three.client.get("/reports?q=nothing+like+it"))
    assert "No reports match “nothing like it”." in nothing
    found = three.client.get("/api/reports", params={"q": "r1"}).json()
    assert (found["total"], found["reports"][0]["name"]) == (1, "r1")
    found = three.client.get("/api/reports", params={"limit": 1, "offset": 2}).json()
    assert (found["total"], [each["name"] for each in found["reports"]]) == (3, ["r0"])


def test_search_finds_reasons(local: Portal) -> None:
    local.put("jan")
    local.fail("jan")
    assert names(local.client.get("/reports?q=DISK").text) == ["jan"]


@pytest.mark.parametrize("path", ["/reports", "/api/reports"])
def test_search_longer_than_the_limit_is_refused(local: Portal, path: str) -> None:
    longest = "m" * MAX_SEARCH_CHARACTERS
    assert local.client.get(path, params={"q": longest}).status_code == 200
    refused = local.client.get(path, params={"q": f"{longest}m"})
    assert refused.status_code == 422
    assert "Search for at most 200 characters." in refused.text


def test_search_text_is_computed_once_per_entry(
    three: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    text_property = vars(ReportEntry)["text"]
    compute = text_property.func

    def compute_and_count(entry: ReportEntry) -> str:
        computed.append(entry.name)
        return str(compute(entry))

    monkeypatch.setattr(text_property, "func", compute_and_count)
    for _ in range(2):
        found = three.client.get("/api/reports", params={"q": "2023-01 json"}).json()
        assert found["total"] == 3
        three.refresh()
    assert len(computed) == 3


def test_many_reports_are_listed_on_several_pages(local: Portal) -> None:
    for number in range(30):
        local.put(f"r{number}")
    first = local.client.get("/reports?q=manhattan").text
    assert first.count('class="card"') == 24
    assert 'href="/reports?q=manhattan&amp;page=2"' in first
    assert local.client.get("/reports?page=2").text.count('class="card"') == 6
    assert local.client.get("/reports?page=9").text.count('class="card"') == 0


def test_rejected_requests_are_found_with_their_reason(portal: Portal) -> None:
    portal.put("half", '{"borough": "Atlantis"')
    portal.put("a\\x")
    portal.put("jan")
    portal.put("zone")
    portal.settle("zone", Status.REJECTED, reason="zone.json: <script>alert(1)</script>")
    page = portal.client.get("/reports?rejected=true")
    content = text(page)
    assert "3 rejected requests, newest first." in content
    assert "half.json is not JSON" in content
    assert "cannot be the name of a request" in content
    assert "<script>alert" not in page.text
    assert "jan" not in names(page.text)
    assert "half.json is not JSON" in text(portal.client.get("/reports/half"))
    assert portal.state("zone") == "rejected"


def test_corrected_request_is_received(portal: Portal) -> None:
    portal.put("jan", "{")
    assert portal.state("jan") == "rejected"
    portal.put("jan")
    assert portal.state("jan") == "received"


def test_file_with_a_bad_name_is_listed_with_the_reason(local: Portal) -> None:
    for name in ("jan.json.txt", "Feb.JSON", "s3::x.json"):
        path = Path(f"{local.root.requests}/{name}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(QUESTION))
    local.put("mar")
    reports = local.client.get("/api/reports").json()["reports"]
    assert {each["reason"] for each in reports if each["state"] == "rejected"} == {
        "jan.json.txt cannot be the name of a request: rename it to jan.json: the name must end "
        "with .json",
        "Feb.JSON cannot be the name of a request: rename it to Feb.json: the name must end with "
        ".json",
        "s3::x.json cannot be the name of a request: leave out :, which Windows does not allow in "
        "a name",
    }
    assert local.state("mar") == "received"


# Other files in the folders


def test_unknown_files_do_no_harm(portal: Portal) -> None:
    portal.answer("jan")
    for name, content in {
        "x.json": "{}",
        "y.json": "[",
        "z.json": "1" * 100,
        ".jan.json.0.partial": "{",
        "notes.txt": "",
    }.items():
        (portal.root.outputs / name).write_text(content)
    portal.put("large", " " * (MAX_BYTES + 1))
    assert portal.states() == {"jan": "done", "large": "rejected"}


def test_names_that_are_not_utf_8_are_shown_as_safe_ones(local: Portal) -> None:
    for folder, ending in ((local.root.requests, ".json"), (local.root.outputs, ".json")):
        folder.mkdir(exist_ok=True)
        path = Path(os.fsdecode(os.fsencode(str(folder)) + b"/a\xff" + ending.encode()))
        path.write_text(json.dumps(QUESTION))
    local.refresh()
    assert local.client.get("/reports").status_code == 200
    (found,) = local.client.get("/api/reports").json()["reports"]
    assert re.fullmatch(r"a_-[0-9a-f]{8}", found["name"])
    assert local.client.get(found["page"]).status_code == 200


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the folders of requests and outputs."""
    path = tmp_path / "secret"
    path.write_text(json.dumps(QUESTION))
    return path


def test_linked_request_is_rejected_and_not_shown(local: Portal, secret: Path) -> None:
    local.root.requests.mkdir()
    Path(str(local.root.requests / "x.json")).symlink_to(secret)
    local.refresh()
    found = local.client.get("/api/reports/x").json()
    assert (found["state"], found["question"]) == ("rejected", None)
    assert "x.json is a symbolic link; expected a file" in found["reason"]
    assert local.client.post("/", data={**FORM, "name": "x"}).status_code == 409


def test_linked_outputs_are_neither_read_nor_served(local: Portal, secret: Path) -> None:
    local.answer("jan")
    for path in files_below(Path(str(local.root.outputs))):
        path.rename(secret.with_name(path.name))
        path.symlink_to(secret.with_name(path.name))
    local.refresh()
    for address in ("/reports/jan/chart.png", "/api/reports/jan/numbers.csv", "/api/reports/jan"):
        assert local.client.get(address).status_code == 404
    assert local.client.get("/api/available").json()["months"] == []


def files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and its folders."""
    return (path for path in list(folder.rglob("*")) if path.is_file())


def test_outputs_larger_than_the_limit_are_not_read(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.answer("jan")
    monkeypatch.setattr("adhoc_reports.portal.downloads.MAX_FILE_BYTES", 3)
    monkeypatch.setattr("adhoc_reports.lib.store.MAX_OUTCOME_BYTES", 3)
    monkeypatch.setattr("adhoc_reports.lib.catalog.MAX_BYTES", 3)
    for path in ("/reports/jan/chart.png", "/api/reports/jan"):
        assert local.client.get(path).status_code == 404
    assert local.client.get("/api/available").json()["months"] == []


@pytest.mark.parametrize("by_hour", [[], [[1] * 7], [[1]] * 24, [[-1] * 7] * 24])
def test_report_of_another_shape_breaks_no_page(local: Portal, by_hour: list[list[int]]) -> None:
    local.answer("jan")
    path = local.store.outcome_path("jan")
    outcome = json.loads(path.read_text())
    outcome["report"]["by_hour"] = by_hour
    storage.write_text(path, json.dumps(outcome))
    local.refresh()
    answer = local.client.get("/api/reports")
    assert (answer.status_code, answer.json()["total"]) == (200, 0)
