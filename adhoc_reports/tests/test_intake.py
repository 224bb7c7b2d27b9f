"""Which files are new or changed: decisions about lists; and what a listing says."""

import json
import os
import shutil

import pytest
from upath import UPath

from adhoc_reports.lib import intake
from adhoc_reports.lib.intake import (
    FILES_PER_TICK,
    READS_PER_TICK,
    Accepted,
    Decision,
    Listed,
    Postponed,
    Record,
    Rejected,
    decide,
    from_cursor,
    list_requests,
    plan,
    to_cursor,
    to_records,
    version_in,
)
from adhoc_reports.lib.request import NewRequest
from taxi_shared.storage import DataRoot

from .conftest import JANUARY

DIGEST = "0123456789abcdef" * 2


def listed(name: str, hint: str = "1", modified: float = 0.0, digest: str = "") -> Listed:
    return Listed(f"{name}.json", hint, modified, size=80, digest=digest)


def accepted(file: Listed, digest: str = "content") -> Accepted:
    """A file as if it had been read."""
    read = Listed(file.name, file.hint, file.modified, file.size, digest=digest)
    return Accepted(read, NewRequest(filename=file.name, **JANUARY))


def decided(files, ledger, batch=None, contents=None) -> Decision:
    """A tick's decision where the files hold the contents, by name without suffix."""
    planned = plan(files, ledger, batch or {})
    digests = contents or {}
    return decide(
        planned,
        (accepted(file, digests.get(file.name[:-5], "content")) for file in planned.unread),
    )


def names(decision: Decision) -> list[str]:
    return [outcome.file.name.removesuffix(".json") for outcome in decision.due]


def test_new_file_is_due_and_not_yet_in_the_ledger():
    decision = decided([listed("a")], ledger={})
    assert names(decision) == ["a"]
    assert decision.ledger == {}


def test_file_of_ledger_or_cursor_is_not_even_read():
    seen = {"a.json": Record("1", "content")}
    for ledger, batch in ((seen, {}), ({}, seen), (seen, seen)):
        planned = plan([listed("a")], ledger, batch)
        assert planned.unread == ()
        assert planned.ledger == seen


def test_new_hint_of_the_same_content_is_recorded_without_run():
    decision = decided([listed("a", "2")], ledger={"a.json": Record("1", "content")})
    assert names(decision) == []
    assert decision.ledger == {"a.json": Record("2", "content")}


def test_changed_content_is_due_and_keeps_its_old_record():
    ledger = {"a.json": Record("1", "old")}
    decision = decided([listed("a", "2")], ledger)
    assert names(decision) == ["a"]
    assert decision.ledger == ledger


def test_cursor_is_newer_than_the_ledger():
    old, new = {"a.json": Record("1", "old")}, {"a.json": Record("2", "content")}
    decision = decided([listed("a", "2")], ledger=old, batch=new)
    assert names(decision) == []
    assert decision.ledger == new


def test_content_that_changes_back_is_due_again():
    old, new = {"a.json": Record("1", "old")}, {"a.json": Record("2", "new")}
    decision = decided([listed("a", "3")], ledger=old, batch=new, contents={"a": "old"})
    assert names(decision) == ["a"]


def test_file_that_is_gone_is_forgotten():
    seen = {"a.json": Record("1", "content"), "b.json": Record("1", "content")}
    decision = decided([listed("b")], seen, batch={"c.json": Record("1", "content")})
    assert names(decision) == []
    assert list(decision.ledger) == ["b.json"]


def test_record_of_an_earlier_release_is_taken_over():
    earlier = from_cursor('{"a.json":"1","b.json":"0"}')
    decision = decided([listed("a"), listed("b")], earlier)
    assert names(decision) == ["b"]
    assert decision.ledger == {"a.json": Record("1", "content"), "b.json": Record("0", "")}


def test_new_names_come_first_then_the_oldest():
    files = [listed("c", modified=2), listed("b", modified=1), listed("a", modified=2)]
    assert names(decided(files, {})) == ["b", "a", "c"]
    assert names(decided(files, {"b.json": Record("0", "old")})) == ["a", "c", "b"]


def test_tick_takes_a_hundred_due_files_and_counts_the_rest():
    files = [listed(f"{i:05}", modified=i) for i in range(10_000)]
    decision = decided(files, {})
    assert names(decision) == [f"{i:05}" for i in range(FILES_PER_TICK)]
    assert decision.waiting == 10_000 - FILES_PER_TICK


def test_every_file_is_due_once_tick_after_tick():
    files = [listed(f"{i:05}", modified=i % 7) for i in range(1_234)]
    ledger, batch, done = {}, {}, []
    while (decision := decided(files, ledger, batch)).due:
        done += names(decision)
        ledger, batch = decision.ledger, to_records(decision.due)
    assert sorted(done) == [f"{i:05}" for i in range(1_234)]


def test_same_cursor_gives_the_same_decision():
    files = [listed("a"), listed("b"), listed("B")]
    batch = {"a.json": Record("1", "content")}
    first = decided(files, {}, batch)
    assert decided(files, first.ledger, batch) == first


@pytest.mark.parametrize("second", ["Jan", "JAN"])
def test_name_that_differs_by_case_alone_is_refused(second):
    ledger = {"jan.json": Record("1", "content")}
    (outcome,) = decided([listed("jan"), listed(second)], ledger).due
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        f"{second}.json cannot be the name of a request: macOS and Windows take it for the name of "
        "jan.json; rename it"
    )


def test_older_of_two_spellings_of_accents_counts():
    composed, decomposed = listed("J\u00e4n", modified=2), listed("Ja\u0308n", modified=1)
    first, second = decided([composed, decomposed], {}).due
    assert (type(first), first.file.name) == (Accepted, decomposed.name)
    assert (type(second), second.file.name) == (Rejected, composed.name)


def test_name_is_free_once_its_other_spelling_is_gone():
    jan = [listed("jan", "2"), listed("Jan")]
    for ledger in ({"JAN.json": Record("1", "x")}, {"Jan.json": Record("1", "x", is_refused=True)}):
        assert isinstance(decided(jan[:1], ledger).due[0], Accepted)


def test_misnamed_files_that_are_gone_are_listed_in_portions():
    bad = {f"{i:03}.JSON": Record("1", "x", is_refused=True) for i in range(150)}
    first = plan([], bad | {"jan.json": Record("1", "x", is_refused=True)}, {})
    assert len(first.gone) == FILES_PER_TICK
    second = plan([], first.ledger, {})
    assert sorted(first.gone + second.gone) == sorted(bad)
    assert second.ledger == {}


@pytest.mark.parametrize("cursor", [None, "", "set by hand", "[]", "1", "{", "[" * 100_000])
def test_cursor_that_was_set_by_hand_counts_as_none(cursor):
    assert from_cursor(cursor) == {}


@pytest.mark.parametrize("value", ["1", "[]", '["1"]', "null", '["1","2","no"]', '{"hint":"1"}'])
def test_damaged_record_counts_as_none(value):
    cursor = f'{{"a.json":{value},"b.json":["1","2",true]}}'
    assert from_cursor(cursor) == {"b.json": Record("1", "2", is_refused=True)}


def test_name_that_is_not_utf_8_survives_the_cursor():
    seen = {"a\udcff.json": Record("1", "2"), "一.json": Record("2", "3", is_refused=True)}
    assert from_cursor(to_cursor(seen)) == seen
    assert to_cursor(seen).isascii()


def test_run_key_names_content_and_occurrence():
    file = listed("a b", hint="5e6f", digest=DIGEST)
    assert file.run_key == f"a b.json {DIGEST} 5e6f"
    assert version_in(file.run_key) == file.version == f"a b.json {DIGEST}"
    assert file.has_run_key(listed("a b", hint="77", digest=DIGEST).run_key)
    assert not file.has_run_key(listed("a b", hint="5e6f", digest=DIGEST[::-1]).run_key)
    assert not file.has_run_key("")


def test_run_key_of_an_earlier_release_is_known_by_the_hint():
    file = listed("a", hint="5e6f", digest=DIGEST)
    assert version_in("a.json 5e6f") == ""
    assert file.has_run_key("a.json 5e6f")
    assert not file.has_run_key("a.json 77")


@pytest.fixture(params=["folder", "S3"])
def requests(request, tmp_path):
    """A folder of requests."""
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    folder = DataRoot.at(root).requests
    folder.mkdir(parents=True)
    return folder


def test_listing_has_what_is_meant_as_a_request(requests):
    meant = (
        "a.json",
        "b [1]*?#%.json",
        "f.JSON",
        "g.json.txt",
        "h.json ",
    )
    for name in (
        *meant,
        ".c.json",
        ".d.json.0.partial",
        "e.txt",
        "README",
        "i.json~",
        "j.json.part",
    ):
        (requests / name).write_text("{}")
    for name in ("folder", "old.json.d"):
        (requests / name).mkdir()
        (requests / name / "g.json").write_text("{}")
    found = list_requests(requests)
    assert found is not None
    assert sorted(file.name for file in found) == sorted(meant)
    assert {file.obstacle for file in found} == {""}


NAMES_TO_REFUSE = (
    *(
        "s3::b.json",
        "c:d.json",
        "http:::e.json",
        "data:,f.json",
        "f.JSON",
        "g.json.txt",
        "con.json",
    ),
    *(
        "h?versionId=1.json",
        "*.json",
        " i.json",
        "j .json",
        "\u200bk.json",
        "l.json ",
        "file:m.json",
    ),
)


def put(folder: UPath, name: str, content: str) -> None:
    """Write a file of a name that UPath or s3fs may take for something else."""
    if folder.protocol == "s3":
        bucket, _, prefix = folder.path.partition("/")
        folder.fs.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
    else:
        folder.fs.pipe_file(f"{folder.path}/{name}", content.encode())


def test_name_of_any_kind_holds_up_no_other(requests):
    good = ("a.json", "b [1]#%.json", "~c.json", "=d.json")
    for name in (*good, *NAMES_TO_REFUSE):
        put(requests, name, json.dumps(JANUARY))
    outcomes = {each.file.name: each for each in intake.read(requests, list_requests(requests))}
    assert sorted(outcomes) == sorted((*good, *NAMES_TO_REFUSE))
    assert all(isinstance(outcomes[name], Accepted) for name in good)
    assert all(isinstance(outcomes[name], Rejected) for name in NAMES_TO_REFUSE)


def read_one(folder: UPath) -> Listed:
    """The one file of a folder, read."""
    (outcome,) = intake.read(folder, list_requests(folder))
    return outcome.file


def test_replaced_file_has_another_hint_and_digest(requests):
    (requests / "a.json").write_text("{}")
    first = read_one(requests)
    assert read_one(requests) == first
    (requests / "a.json").write_text("[]")
    assert read_one(requests).hint != first.hint
    assert read_one(requests).digest != first.digest


def test_replaced_file_of_same_size_and_time_has_new_hint(tmp_path):
    folder = UPath(tmp_path)
    for name in ("a.json", "b.partial"):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (1, 1))
    first = list_requests(folder)
    (tmp_path / "b.partial").rename(tmp_path / "a.json")
    assert list_requests(folder)[0].hint != first[0].hint


def test_chmod_touch_and_copy_keep_the_digest(tmp_path):
    folder, path = UPath(tmp_path), tmp_path / "a.json"
    path.write_text(json.dumps(JANUARY))
    seen = [read_one(folder)]
    path.chmod(0o600)
    seen.append(read_one(folder))
    os.utime(path, (1, 1))
    seen.append(read_one(folder))
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "copy").rename(path)
    seen.append(read_one(folder))
    assert len({file.digest for file in seen}) == 1
    assert len({file.hint for file in seen}) == len(seen)


def test_file_that_is_not_read_keeps_its_digest_as_it_grows(tmp_path):
    folder = UPath(tmp_path)
    (tmp_path / "a.json.txt").write_text("{")
    first = read_one(folder)
    (tmp_path / "a.json.txt").write_text("{}")
    assert read_one(folder).digest == first.digest
    assert read_one(folder).hint != first.hint


def test_missing_folder_differs_from_an_empty_one(requests):
    (requests / ".being_written").write_text("")  # on S3 a folder is what its files are called
    assert list_requests(requests) == []
    assert list_requests(requests / "none") is None


def test_file_that_is_gone_before_reading_is_left_out(requests):
    (requests / "a.json").write_text("{}")
    files = list_requests(requests)
    (requests / "a.json").unlink()
    assert list(intake.read(requests, files)) == []


def test_file_that_changes_while_read_is_postponed(requests):
    (requests / "a.json").write_text("{")
    files = list_requests(requests)
    (requests / "a.json").write_text(json.dumps(JANUARY))
    (outcome,) = intake.read(requests, files)
    assert isinstance(outcome, Postponed)
    assert "changed" in outcome.reason


def test_obvious_non_requests_are_rejected_unread(requests):
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


def test_unreadable_file_is_rejected_and_a_timeout_postponed():
    (refused,) = intake.read(Answers(PermissionError(13, "denied")), [listed("a")])
    assert isinstance(refused, Rejected)
    assert "a.json cannot be read" in refused.reason
    (failed,) = intake.read(Answers(TimeoutError("slow down")), [listed("a")])
    assert isinstance(failed, Postponed)
    assert "a.json could not be read: slow down" in failed.reason


def test_tick_reads_a_bounded_number_of_files(monkeypatch):
    reads = []

    def read(_folder, files):
        reads.append(len(files))
        return [accepted(file) for file in files]

    monkeypatch.setattr(intake, "read", read)
    files = [listed(str(number), hint="2") for number in range(5_000)]
    unchanged = {file.name: Record("1", "content") for file in files}
    decide(plan(files, unchanged, {}), intake.read_in_batches(UPath("/"), files))
    assert sum(reads) == READS_PER_TICK
    reads.clear()
    decide(plan(files, {}, {}), intake.read_in_batches(UPath("/"), files))
    assert sum(reads) == FILES_PER_TICK
