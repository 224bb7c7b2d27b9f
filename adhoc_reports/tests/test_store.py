"""The store of requests and reports: what a scan says, and how requests are submitted."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from adhoc_reports.lib.export import to_csv
from adhoc_reports.lib.index import ReportEntry
from adhoc_reports.lib.outcome import Status
from adhoc_reports.lib.request import InvalidRequest, Question
from adhoc_reports.lib.store import ReportStore, Submission
from taxi_shared import storage
from taxi_shared.storage import DataRoot

from .conftest import JANUARY, QUESTION, january_outcome

QUEENS = QUESTION.model_copy(update={"borough": "Queens"})


@pytest.fixture(params=["folder", "S3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ReportStore:
    """A store in a folder, then on S3."""
    address = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    return ReportStore(DataRoot.at(address))


@pytest.fixture
def local(tmp_path: Path) -> ReportStore:
    """A store in a folder, for what does not depend on the storage."""
    return ReportStore(DataRoot.at(str(tmp_path)))


def write_outcome(store: ReportStore, status: Status = Status.DONE, **changes: object) -> None:
    """The outcome of the January request."""
    store.write_outcome("jan", january_outcome(status, **changes))


def january(store: ReportStore) -> ReportEntry:
    return store.scan().entries["jan"]


def test_request_is_received_then_done(store: ReportStore) -> None:
    assert store.submit("jan", QUESTION) is Submission.NEW
    entry = january(store)
    assert (entry.status, entry.is_due, entry.has_report) == (Status.RECEIVED, True, False)
    write_outcome(store, Status.GENERATING, report=None)
    assert january(store).status is Status.GENERATING
    write_outcome(store)
    entry = january(store)
    assert (entry.status, entry.is_due, entry.has_report) == (Status.DONE, False, True)
    assert entry.outcome
    assert entry.outcome.trips == 7 * 24


def test_scan_without_folders_is_empty(store: ReportStore) -> None:
    index = store.scan()
    assert index.entries == {}
    assert not index.has_requests


def test_entry_stays_the_same_object_until_a_file_changes(store: ReportStore) -> None:
    store.submit("jan", QUESTION)
    write_outcome(store)
    first = january(store)
    assert january(store) is first
    write_outcome(store, Status.FAILED)
    assert january(store) is not first


def test_changed_request_keeps_no_report_of_another_question(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    write_outcome(local)
    storage.write_text(local.root.requests / "jan.json", QUEENS.to_json())
    entry = january(local)
    assert (entry.status, entry.is_due, entry.has_report) == (Status.RECEIVED, True, False)


def test_report_of_the_same_question_is_shown_meanwhile(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    write_outcome(local)
    assert local.resubmit(january(local), QUESTION) is Submission.NEW
    entry = january(local)
    assert (entry.status, entry.is_due, entry.has_report) == (Status.RECEIVED, True, True)


def test_failed_request_says_why_and_keeps_the_report(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    write_outcome(local, Status.FAILED)
    entry = january(local)
    assert (entry.status, entry.reason, entry.has_report) == (Status.FAILED, "It failed.", True)


def test_invalid_file_is_rejected_at_once(local: ReportStore) -> None:
    storage.write_text(local.root.requests / "jan.json", "{")
    entry = january(local)
    assert entry.status is Status.REJECTED
    assert "jan.json is not JSON" in entry.reason
    assert entry.question is None


def test_report_without_a_request_is_shown(local: ReportStore) -> None:
    write_outcome(local)
    entry = january(local)
    assert (entry.status, entry.is_due) == (Status.DONE, False)
    assert (entry.filename, entry.question) == ("jan.json", QUESTION)


def test_newest_request_comes_first(local: ReportStore) -> None:
    for number, name in enumerate(("a", "b", "c")):
        local.submit(name, QUESTION)
        os.utime(str(local.root.requests / f"{name}.json"), (number, number))
    index = local.scan()
    assert list(index.entries) == ["c", "b", "a"]
    assert [entry.name for entry in index.by_question[QUESTION]] == ["c", "b", "a"]
    assert [entry.name for entry in index.waiting] == ["c", "b", "a"]


@pytest.mark.parametrize("content", ["{half", "[]", "{}", '{"status": "done"}', "[" * 9_000])
def test_damaged_outcome_counts_as_none(local: ReportStore, content: str) -> None:
    local.submit("jan", QUESTION)
    storage.write_text(local.outcome_path("jan"), content)
    assert january(local).outcome is None
    assert local.read_outcome("jan") is None


def test_links_and_folders_are_no_outcomes(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    outputs = Path(str(local.root.outputs))
    (outputs / "jan.json").mkdir(parents=True)
    assert january(local).is_due
    (outputs / "jan.json").rmdir()
    (outputs / "jan.json").symlink_to("/etc/hostname")
    assert january(local).is_due


def test_outcome_that_cannot_be_read_makes_nothing_due(
    local: ReportStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.submit("jan", QUESTION)
    write_outcome(local)
    read = storage.read_all_bounded

    def fail_outputs(folder: object, names: list[str], limit: int) -> list[bytes | Exception]:
        if folder == local.root.outputs:
            return [TimeoutError("slow down")] * len(names)
        return read(local.root.requests, names, limit)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_all_bounded", fail_outputs)
        index = local.scan()
    assert not index.entries["jan"].is_due
    assert len(index.postponed) == 1
    assert "jan.json cannot be read: slow down" in index.postponed[0]
    assert january(local).status is Status.DONE


def test_scan_reads_a_bounded_number_of_files(local: ReportStore) -> None:
    for number in range(30):
        local.submit(str(number), QUESTION)
        outcome = january_outcome(filename=f"{number}.json")
        local.write_outcome(str(number), outcome)
    restarted = ReportStore(local.root)
    for scan in range(3):
        index = restarted.scan(max_reads=10)
        assert not any(entry.is_due for entry in index.entries.values()), scan
        assert (index.unread == 0) == (scan == 2)
    assert {entry.status for entry in index.entries.values()} == {Status.DONE}


def test_new_request_is_read_before_answered_ones(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    write_outcome(local)
    local.submit("new", QUESTION)
    index = ReportStore(local.root).scan(max_reads=1)
    assert index.entries["new"].is_due
    assert index.unread == 1


def test_report_of_a_name_refused_today_is_shown(local: ReportStore) -> None:
    local.root.requests.mkdir()
    local.root.outputs.mkdir()
    Path(f"{local.root.requests}/a:b.json").write_text(QUESTION.to_json())
    outcome = january_outcome(filename="a:b.json")
    Path(f"{local.root.outputs}/a:b.json").write_text(outcome.model_dump_json())
    entries = local.scan().entries
    assert (entries["a:b"].status, entries["a:b"].has_report) == (Status.DONE, True)
    (refused,) = (entry for name, entry in entries.items() if name != "a:b")
    assert "leave out :, which Windows does not allow" in refused.reason


def test_request_is_submitted_once(store: ReportStore) -> None:
    assert store.submit("jan", QUESTION) is Submission.NEW
    assert store.submit("jan", QUESTION) is Submission.DUPLICATE
    assert store.submit("jan", QUEENS) is Submission.NAME_TAKEN
    assert json.loads(storage.read_text(store.root.requests / "jan.json")) == JANUARY


def test_name_that_leaves_the_folder_is_not_submitted(local: ReportStore) -> None:
    for name in ("../x", "a/b", "s3::x", "trips_by_week"):
        with pytest.raises(InvalidRequest, match="cannot be the name of a request"):
            local.submit(name, QUESTION)
    assert not local.root.requests.exists()


def test_name_of_an_invalid_file_is_taken(local: ReportStore) -> None:
    storage.write_text(local.root.requests / "jan.json", "{}")
    assert local.submit("jan", QUESTION) is Submission.NAME_TAKEN


def test_report_without_a_request_holds_its_name(local: ReportStore) -> None:
    write_outcome(local)
    assert local.submit("jan", QUEENS) is Submission.NAME_TAKEN
    assert local.submit("jan", QUESTION) is Submission.DUPLICATE
    assert january(local).file  # written again, for a report that is kept up to date
    assert not january(local).is_due


def test_resubmitted_request_is_due_every_time(store: ReportStore) -> None:
    store.submit("jan", QUESTION)
    seen = set()
    for _ in range(3):
        assert store.resubmit(january(store), QUESTION) is Submission.NEW
        seen.add(january(store).content_hash)
    assert len(seen) == 3


def test_resubmitted_request_whose_file_is_gone_is_due(local: ReportStore) -> None:
    write_outcome(local)
    assert local.resubmit(january(local), QUESTION) is Submission.NEW
    assert january(local).is_due


def test_request_that_has_changed_is_not_resubmitted(local: ReportStore) -> None:
    local.submit("jan", QUESTION)
    before = january(local)
    storage.write_text(local.root.requests / "jan.json", QUEENS.to_json())
    assert local.resubmit(before, QUESTION) is Submission.CHANGED
    assert local.resubmit(replace(before, file=None), QUESTION) is Submission.CHANGED
    assert json.loads(storage.read_text(local.root.requests / "jan.json"))["borough"] == "Queens"


def test_check_is_recorded_every_ten_seconds(local: ReportStore) -> None:
    local.record_check()
    path = Path(str(local.root.outputs / "catalog" / "intake.json"))
    path.unlink()
    local.record_check()
    assert not path.exists()


def test_outcome_of_an_early_release_is_read(local: ReportStore) -> None:
    request = {"borough": "Bronx", "zone": "", "start_date": "2023-01-10", "end_date": "2023-01-25"}
    report = {
        "generated": "2026-02-01T00:00:00Z",
        "by_hour": [[1, 2, 3, 4, 5, 6, 7]] * 24,
        "weekdays": [2, 2, 3, 2, 2, 2, 2],
        "remark": "",
        "coverage": {"months": [], "exclusions": []},
        "publishers": [],
    }
    early = {
        "status": "done",
        "filename": "old.json",
        "content_hash": "",
        "request": request,
        "updated": "2026-02-01T00:00:00Z",
        "report": report,
    }
    storage.write_text(local.outcome_path("old"), json.dumps(early))
    found = local.read_outcome("old")
    assert found
    assert found.request == Question.model_validate(request)
    assert found.report
    assert found.report.trips == 24 * 28
    assert to_csv(found.request, found.report).startswith("hour_of_day,Sunday,Monday")
