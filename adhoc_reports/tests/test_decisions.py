"""What a tick does about requests: decisions about lists of entries."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from adhoc_reports.lib.decisions import FILES_PER_TICK, MAX_UNFINISHED_RUNS, decide
from adhoc_reports.lib.index import OutcomeSummary, ReportEntry, ReportIndex, resolve_names
from adhoc_reports.lib.outcome import Status
from adhoc_reports.lib.request_files import Content, RequestFile

from .conftest import QUESTION


def outcome(name: str, content_hash: str, status: Status = Status.DONE) -> OutcomeSummary:
    return OutcomeSummary(
        status, f"{name}.json", content_hash, QUESTION, "", 0.0, "run", trips=None, levels=""
    )


def entry(
    name: str, content_hash: str = "new", answered: str = "", modified: float = 0.0
) -> ReportEntry:
    """A valid request, and the content that its outcome answers, empty where there is none."""
    return ReportEntry(
        name,
        RequestFile(f"{name}.json", "1", modified, size=80),
        Content(content_hash, QUESTION),
        outcome(name, answered) if answered else None,
    )


def rejected(name: str) -> ReportEntry:
    """A file that is no valid request."""
    return replace(entry(name), content=Content("new", None, "not JSON"))


def gone(name: str, status: Status = Status.DONE) -> ReportEntry:
    """An outcome whose request file has been removed."""
    return ReportEntry(name, None, None, outcome(name, "old", status))


def index(*entries: ReportEntry) -> ReportIndex:
    return ReportIndex({each.name: each for each in entries})


def names(entries: Sequence[ReportEntry]) -> list[str]:
    return [each.name for each in entries]


def test_request_whose_content_is_answered_is_not_run() -> None:
    assert decide(index(entry("a", "x", answered="x")), ["a"]).is_idle


def test_request_whose_content_differs_from_the_outcome_is_run() -> None:
    assert names(decide(index(entry("a", "y", answered="x")), ["a"]).to_run) == ["a"]


def test_lost_run_is_requested_again() -> None:
    generating = replace(entry("a", "x"), outcome=outcome("a", "x", Status.GENERATING))
    assert names(decide(index(generating), ["a"]).to_run) == ["a"]


def test_requests_that_vanish_all_at_once_are_not_withdrawn() -> None:
    assert decide(index(gone("a")), ["a"]).withdrawn == ("a",)
    assert decide(index(gone("a"), gone("b")), ["a", "b"]).is_idle
    assert decide(index(gone("a"), gone("b"), entry("c", "x", "x")), ["a", "b", "c"]).withdrawn == (
        "a",
        "b",
    )


def test_request_that_cannot_be_read_keeps_its_outcome() -> None:
    unreadable = replace(entry("a", "x", answered="x"), content=None)
    assert unreadable.status is Status.DONE
    assert decide(index(unreadable), ["a"]).is_idle


def test_answered_request_keeps_its_name_before_it_is_read() -> None:
    unread = replace(entry("jan", answered="x", modified=2), content=None)
    jan, other = resolve_names([unread, entry("JAN", modified=1)])
    assert jan.content is None
    assert other.status is Status.REJECTED


@pytest.mark.parametrize("status", [Status.FAILED, Status.REJECTED])
def test_failed_request_is_not_run_again(status: Status) -> None:
    ended = replace(entry("a", "x"), outcome=outcome("a", "x", status))
    assert decide(index(ended), ["a"]).is_idle


def test_requests_without_outcome_run_first_then_the_oldest() -> None:
    entries = [
        entry("c", modified=2),
        entry("b", modified=1),
        entry("a", modified=2),
        entry("d", answered="old"),
    ]
    assert names(decide(index(*entries), ["d"]).to_run) == ["b", "a", "c", "d"]


def test_tick_runs_a_hundred_requests_and_counts_the_rest() -> None:
    entries = [entry(f"{number:05}", modified=number) for number in range(10_000)]
    decision = decide(index(*entries), {}).without_running([])
    assert names(decision.to_run) == [f"{number:05}" for number in range(FILES_PER_TICK)]
    assert decision.waiting == 10_000 - FILES_PER_TICK


def test_long_queue_gets_no_more_runs() -> None:
    running = [f"other {number}" for number in range(MAX_UNFINISHED_RUNS - 1)]
    entries = index(*(entry(f"{number}") for number in range(10)))
    assert len(decide(entries, {}).without_running(running).to_run) == 1
    assert len(decide(entries, {}).without_running([*running, "one more"]).to_run) == 0


def test_file_that_is_no_request_is_rejected_and_not_run() -> None:
    decision = decide(index(rejected("a")), {})
    assert names(decision.to_reject) == ["a"]
    assert not decision.depends_on_runs


def test_partition_is_withdrawn_when_its_request_is_gone() -> None:
    assert decide(index(gone("a")), ["a"]).withdrawn == ("a",)


def test_report_without_a_partition_stays() -> None:
    assert decide(index(gone("a")), {}).is_idle


def test_rejection_goes_with_its_file() -> None:
    decision = decide(index(gone("a", Status.REJECTED)), {})
    assert decision.obsolete == ("a",)
    assert decision.withdrawn == ()


def test_unread_request_is_not_run() -> None:
    assert decide(index(replace(entry("a"), content=None)), {}).is_idle


def test_answered_request_without_a_partition_is_registered() -> None:
    answered = entry("a", "x", answered="x")
    assert names(decide(index(answered), []).to_register) == ["a"]
    assert decide(index(answered), ["a"]).is_idle


@pytest.mark.parametrize("second", ["Jan", "JAN"])
def test_name_that_differs_by_case_alone_is_rejected(second: str) -> None:
    first = entry("jan", answered="old")
    (kept, other) = resolve_names([first, entry(second, modified=-1)])
    assert kept is first
    assert other.reason == (
        f"{second}.json cannot be the name of a request: macOS and Windows take it for the name of "
        "jan.json; rename it"
    )


def test_older_of_two_spellings_of_accents_keeps_the_name() -> None:
    composed, decomposed = entry("J\u00e4n", modified=2), entry("Ja\u0308n", modified=1)
    by_name = {each.name: each for each in resolve_names([composed, decomposed])}
    assert by_name[decomposed.name] is decomposed
    assert by_name[composed.name].status is Status.REJECTED


def test_name_is_free_once_its_other_spelling_is_gone() -> None:
    both = resolve_names([entry("jan", answered="new"), entry("Jan")])
    refused = replace(both[1], outcome=outcome("Jan", both[1].content_hash, Status.REJECTED))
    assert not refused.is_due
    (alone,) = resolve_names([replace(entry("Jan"), outcome=refused.outcome)])
    assert alone.is_due
    assert alone.question == QUESTION
