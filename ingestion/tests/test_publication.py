"""A block is distinguished from a month that is not published yet; waits double up to a limit."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from ingestion.lib import publication
from ingestion.lib.months import CONCURRENT_FETCHES
from ingestion.lib.publication import LoadPlan, Polls, PollState, Refusals, SourceRetry
from ingestion.lib.published_files import (
    Blocked,
    Forbidden,
    NotPublished,
    TransientError,
    Version,
)
from taxi_shared import keys

from .conftest import status
from .test_trips import MONTHS, Ingestion, failure, ingestion, retries  # noqa: F401 - fixture

TODAY = date(2023, 5, 5)
PATH = "/trip-data/yellow_tripdata_2023-02.parquet"


def judged(refused: list[str], exists: list[str], today: date = TODAY) -> Exception | None:
    refusals = Refusals("TLC", lambda: [f"{month}-01" for month in exists], today)
    errors = [refusals.judge(f"{month}-01", Forbidden("HTTP 403", 7)) for month in refused]
    return refusals.block(is_final=True) or errors[-1]


@pytest.mark.parametrize(
    ("refused", "exists", "reason"),
    [
        (["2023-01"], ["2023-02"], "2023-01 although 2023-02 is published"),
        (["2023-03", "2023-01"], ["2023-02"], "2023-01 although 2023-02 is published"),
        (["2023-02"], ["2023-02"], "2023-02, which was published before"),
        (["2022-01"], [], "2022-01, which ended long ago"),
        (
            ["2023-01", "2023-02", "2023-03", "2023-04"],
            ["2022-12"],
            "2023-01, 2023-02, 2023-03 and 2023-04",
        ),
        ([f"2022-{n:02}" for n in range(1, 8)], ["2021-12"], "7 months from 2022-01 to 2022-07"),
    ],
    ids=["older", "one older", "published before", "long ago", "many", "very many"],
)
def test_refusal_is_a_block(refused: list[str], exists: list[str], reason: str) -> None:
    error = judged(refused, exists)
    assert isinstance(error, Blocked)
    assert error.wait_seconds == 7
    assert str(error) == (
        f"TLC refuses requests (HTTP 403) for {reason}: it is probably limiting this address"
    )


@pytest.mark.parametrize(
    ("refused", "exists"),
    [
        (["2023-04"], ["2023-03"]),
        (["2023-02", "2023-03", "2023-04"], ["2023-01"]),
        (["2022-04"], ["2022-03"]),  # a copy that ends there
        (["2023-03"], []),
    ],
)
def test_refusal_of_the_newest_months_is_none(refused: list[str], exists: list[str]) -> None:
    assert isinstance(judged(refused, exists), Forbidden)


def test_other_errors_are_no_refusals() -> None:
    refusals = Refusals("TLC", lambda: ["2023-02-01"], TODAY)
    for error in (NotPublished("HTTP 404"), TransientError("HTTP 503"), None):
        assert refusals.judge("2023-01-01", error) is error
    assert refusals.block(is_final=True) is None


def test_month_found_after_a_refusal_makes_it_a_block() -> None:
    refusals = Refusals("TLC", list, TODAY)
    assert not isinstance(refusals.judge("2023-03-01", Forbidden("HTTP 403")), Blocked)
    refusals.judge("2023-04-01", None)
    assert "2023-03 although 2023-04 is published" in str(refusals.block(is_final=True))


def test_two_months_are_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0)
    requests, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2)

    def fetch_version(partition: str) -> Version:
        nonlocal requests, most
        with lock:
            requests += 1
            most = max(most, requests)
        together.wait(10)
        with lock:
            requests -= 1
        return Version(etag="1")

    months = [f"2023-{n:02}-01" for n in range(1, 13)]
    refusals = Refusals("TLC", list, TODAY)
    found = publication.plan(months, fetch_version, lambda month: None, refusals)
    assert found.due == tuple(months)
    assert most == 2


def test_plan_ends_in_time_for_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PLAN_SECONDS", -1)
    plan = publication.plan(
        ["2023-01-01"],
        lambda month: Version(etag="1"),
        lambda month: None,
        Refusals("TLC", list, TODAY),
    )
    assert plan == LoadPlan()
    polls = Polls().after(["2023-01-01"], plan, 0.0)
    assert polls.due(["2023-01-01"], 0.0) == ["2023-01-01"]


FILE = [keys.TAXI_TRIPS_FILE]


def test_run_retries_a_blocked_month_and_names_it(ingestion: Ingestion) -> None:  # noqa: F811 - fixture
    ingestion.publish(MONTHS[0], MONTHS[2])  # and 403 for 2023-02
    result = ingestion.run(MONTHS[0], MONTHS[-1], FILE)
    assert retries(result) == 2
    assert (
        f"2023-02-01: {ingestion.publisher.url} refuses requests (HTTP 403) for 2023-02 although "
        "2023-03 is published: it is probably limiting this address"
    ) in failure(result)


def test_run_succeeds_after_a_block_that_ends(ingestion: Ingestion) -> None:  # noqa: F811 - fixture
    ingestion.publish(*MONTHS)
    ingestion.publisher.misbehave[PATH] = [status(403)]
    result = ingestion.run(MONTHS[0], MONTHS[-1], FILE)
    assert result.success
    assert retries(result) == 1


def test_blocked_run_stops_fetching(ingestion: Ingestion) -> None:  # noqa: F811 - fixture
    months = [f"2023-{month:02}-01" for month in range(1, 13)]
    result = ingestion.run(months[0], months[-1], FILE)  # 403 for each of them
    assert "refuses requests (HTTP 403) for " in failure(result)
    assert "12 of 12 partitions failed" in failure(result)
    at_most = publication.MANY_REFUSED - 1 + CONCURRENT_FETCHES  # of each of the three tries
    assert len(ingestion.publisher.requests) <= 3 * at_most


def test_wait_for_a_pending_month_doubles_to_a_day() -> None:
    plan = LoadPlan(not_published=("2023-04-01",), current=("2023-03-01",))
    polls = Polls()
    hours, now = [], 0.0
    for _ in range(7):
        polls = polls.after(["2023-03-01", "2023-04-01"], plan, now)
        assert polls.months["2023-03-01"].wait == 24 * 3600  # loaded: a day from the first
        hours.append(polls.months["2023-04-01"].wait / 3600)
        now = polls.months["2023-04-01"].next
    assert hours == [1, 2, 4, 8, 16, 24, 24]


def test_wait_while_loads_fail_doubles_to_a_day() -> None:
    january = ["2023-01-01"]
    due = LoadPlan(published=("2023-01-01",))
    polls = Polls(months={"2023-01-01": PollState(0.0, 24 * 3600)})  # it was not published
    minutes, now = [], 0.0
    for _ in range(12):
        assert polls.due(january, now - 1) == []
        assert polls.due(january, now) == january
        polls = polls.after(january, due, now)
        minutes.append(polls.months["2023-01-01"].wait / 60)
        now = polls.months["2023-01-01"].next
    assert minutes == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440]

    polls = polls.after(january, LoadPlan(current=("2023-01-01",)), now)
    assert polls.months["2023-01-01"].wait == 24 * 3600
    polls = polls.after(january, due, polls.months["2023-01-01"].next)
    assert polls.months["2023-01-01"].wait == 2 * 60  # replaced: from the first


def test_times_of_a_clock_that_was_ahead_are_not_waited_for() -> None:
    now, ahead = datetime(2023, 5, 5, tzinfo=UTC), 1e20
    retry = SourceRetry(ahead, wait=60, since=ahead, reason="away", is_block=False)
    months = {"2023-01-01": PollState(ahead, 60, "current")}
    polls = Polls("tlc", months, retry, reported="All is well.", reported_at=ahead)
    seconds = now.timestamp()
    assert not polls.is_waiting(seconds)
    assert polls.due(months, seconds) == ["2023-01-01"]
    assert not polls.is_reported("All is well.", seconds)
    status = replace(polls, retry=None).status("yellow", "TLC", months, now)
    assert status.next_check <= now + timedelta(days=1)


def test_polls_survive_the_cursor() -> None:
    polls = Polls("here").after(
        ["2023-01-01", "2023-02-01"],
        LoadPlan(published=("2023-01-01",), failed={"2023-02-01": Blocked("no", 9)}),
        100.0,
    )
    assert Polls.from_cursor(polls.to_cursor(), "here") == polls
    assert Polls.from_cursor(polls.to_cursor(), "there") == Polls("there")
    for cursor in (None, "", "[]", "{", '{"months": 7}'):
        assert Polls.from_cursor(cursor, "here") == Polls("here")


def test_old_month_is_no_block_while_others_are_checked() -> None:
    refusals = Refusals("TLC", list, TODAY)
    error = Forbidden("HTTP 403")
    assert refusals.judge("2001-01-01", error) is error
    assert refusals.block(is_final=False) is None
    refusals.judge("2000-12-01", None)
    assert refusals.block(is_final=True) is None
