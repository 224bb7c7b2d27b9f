"""Which files are new or changed: a decision about lists; and what a listing says."""

import json
import os

import pytest
from upath import UPath

from adhoc_reports.lib import intake
from adhoc_reports.lib.intake import (
    FILES_A_TICK,
    Accepted,
    Listed,
    Postponed,
    Rejected,
    decide,
    from_cursor,
    list_requests,
    to_cursor,
)
from taxi_shared.storage import DataRoot

from .conftest import JANUARY


def listed(name: str, fingerprint: str = "1", modified: float = 0.0) -> Listed:
    return Listed(f"{name}.json", fingerprint, modified, size=80)


def names(decision: intake.Decision) -> list[str]:
    return [file.name.removesuffix(".json") for file in decision.due]


def test_a_file_that_nobody_has_seen_is_due():
    decision = decide([listed("a")], ledger={}, batch={})
    assert names(decision) == ["a"]
    assert decision.ledger == {}


def test_a_file_is_not_due_again_whether_the_cursor_or_the_ledger_remembers_it():
    seen = {"a.json": "1"}
    for ledger, batch in ((seen, {}), ({}, seen), (seen, seen)):
        decision = decide([listed("a")], ledger, batch)
        assert names(decision) == []
        assert decision.ledger == seen


def test_a_changed_file_is_due_and_the_ledger_keeps_its_old_version_until_it_is_dealt_with():
    decision = decide([listed("a", "2")], ledger={"a.json": "1"}, batch={})
    assert names(decision) == ["a"]
    assert decision.ledger == {"a.json": "1"}


def test_the_last_tick_knows_better_than_the_ledger():
    decision = decide([listed("a", "2")], ledger={"a.json": "1"}, batch={"a.json": "2"})
    assert names(decision) == []
    assert decision.ledger == {"a.json": "2"}


def test_a_file_that_changes_back_is_due_again():
    decision = decide([listed("a", "1")], ledger={"a.json": "1"}, batch={"a.json": "2"})
    assert names(decision) == ["a"]


def test_a_file_that_is_gone_is_forgotten():
    decision = decide([listed("b")], ledger={"a.json": "1", "b.json": "1"}, batch={"c.json": "1"})
    assert names(decision) == []
    assert decision.ledger == {"b.json": "1"}


def test_the_oldest_come_first_and_the_name_decides_between_equals():
    files = [listed("c", modified=2), listed("b", modified=1), listed("a", modified=2)]
    assert names(decide(files, {}, {})) == ["b", "a", "c"]


def test_no_more_than_a_hundred_are_due_and_the_rest_is_counted():
    files = [listed(f"{i:05}", modified=i) for i in range(10_000)]
    decision = decide(files, {}, {})
    assert names(decision) == [f"{i:05}" for i in range(FILES_A_TICK)]
    assert decision.waiting == 10_000 - FILES_A_TICK


def test_tick_after_tick_every_file_is_dealt_with_once():
    files = [listed(f"{i:05}", modified=i % 7) for i in range(1_234)]
    ledger, batch, done = {}, {}, []
    while (decision := decide(files, ledger, batch)).due:
        done += names(decision)
        ledger, batch = decision.ledger, intake.seen_by(decision.due)
    assert sorted(done) == [f"{i:05}" for i in range(1_234)]


def test_deciding_again_from_the_same_cursor_decides_the_same():
    files = [listed("a"), listed("b"), listed("c")]
    first = decide(files, {}, {"a.json": "1"})
    assert decide(files, first.ledger, {"a.json": "1"}) == first


@pytest.mark.parametrize("cursor", [None, "", "set by hand", "[]", "1", "{", "[" * 100_000])
def test_a_cursor_that_was_set_by_hand_counts_as_none(cursor):
    assert from_cursor(cursor) == {}


def test_a_name_that_is_not_utf_8_survives_the_cursor():
    seen = {"a\udcff.json": "1", "一.json": "2"}
    assert from_cursor(to_cursor(seen)) == seen
    assert to_cursor(seen).isascii()


@pytest.fixture(params=["folder", "S3"])
def requests(request, tmp_path):
    """A folder of requests."""
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    folder = DataRoot.at(root).requests
    folder.mkdir(parents=True)
    return folder


def test_a_listing_has_the_request_files_and_nothing_else(requests):
    for name in ("a.json", "b [1]*?#%.json", ".c.json", ".d.json.0.partial", "e.txt", "f.JSON"):
        (requests / name).write_text("{}")
    (requests / "folder").mkdir()
    (requests / "folder" / "g.json").write_text("{}")
    found = list_requests(requests)
    assert found is not None
    assert sorted(file.name for file in found) == ["a.json", "b [1]*?#%.json"]
    assert {file.obstacle for file in found} == {""}


def test_files_of_any_name_are_read(requests):
    for name in ("a.json", "b [1]*?#%.json", "~c.json", "d::e.json"):
        (requests / name).write_text(json.dumps(JANUARY))
    outcomes = list(intake.read(requests, list_requests(requests)))
    assert len(outcomes) == 4
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


def test_a_file_that_is_replaced_has_another_fingerprint(requests):
    (requests / "a.json").write_text("{}")
    first = list_requests(requests)
    assert list_requests(requests) == first
    (requests / "a.json").write_text("[]")
    assert list_requests(requests)[0].fingerprint != first[0].fingerprint


def test_a_copy_that_keeps_size_and_time_has_another_fingerprint(tmp_path):
    folder = UPath(tmp_path)
    for name in ("a.json", "b.partial"):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (1, 1))
    first = list_requests(folder)
    (tmp_path / "b.partial").rename(tmp_path / "a.json")
    assert list_requests(folder)[0].fingerprint != first[0].fingerprint


def test_a_folder_that_is_not_there_is_told_from_an_empty_one(requests):
    (requests / ".being_written").write_text("")  # on S3 a folder is what its files are called
    assert list_requests(requests) == []
    assert list_requests(requests / "none") is None


def test_a_file_that_is_gone_when_it_is_read_is_nothing_to_answer(requests):
    (requests / "a.json").write_text("{}")
    files = list_requests(requests)
    (requests / "a.json").unlink()
    assert list(intake.read(requests, files)) == []


def test_a_file_that_changes_between_listing_and_reading_is_left_for_the_next_tick(requests):
    (requests / "a.json").write_text("{")
    files = list_requests(requests)
    (requests / "a.json").write_text(json.dumps(JANUARY))
    (outcome,) = intake.read(requests, files)
    assert isinstance(outcome, Postponed)
    assert "changed" in outcome.reason


def test_what_is_known_to_be_no_request_is_not_even_read(requests):
    obstacles = [
        Listed("a.json", "1", 0, size=0),
        Listed("b.json", "1", 0, size=10_000_000_000),
        Listed("c.json", "1", 0, size=80, obstacle="a folder"),
        Listed("d\n.json", "1", 0, size=80),
    ]
    outcomes = list(intake.read(requests, obstacles))  # none of them is there
    assert [type(outcome) for outcome in outcomes] == [Rejected] * 4


class Answers:
    """A file system that answers every read with an error."""

    path, protocol = "/requests", "memory"

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def fs(self) -> "Answers":
        return self

    def cat_ranges(self, paths: list[str], start: int, end: int) -> list[Exception]:
        return [self.error for _ in paths]


def test_a_file_that_may_not_be_read_is_reported_and_a_passing_failure_is_tried_again():
    (refused,) = intake.read(Answers(PermissionError(13, "denied")), [listed("a")])
    assert isinstance(refused, Rejected)
    assert "a.json cannot be read" in refused.reason
    (failed,) = intake.read(Answers(TimeoutError("slow down")), [listed("a")])
    assert isinstance(failed, Postponed)
    assert "a.json could not be read: slow down" in failed.reason
