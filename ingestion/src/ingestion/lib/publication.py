"""Which months to load now, when to check each again, and the status to show meanwhile.

TLC's server answers 403 for a month that it does not have, and for every month to an address that
it limits (public reports of June 2026). `Refusals` distinguishes the two.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Self

from pydantic import TypeAdapter, ValidationError

from ingestion.lib.published_files import (
    Blocked,
    DownloadError,
    Forbidden,
    NotPublished,
    Version,
)
from taxi_shared.source_status import SourceStatus, format_time

# Few, so that a server does not limit this address: 46 months take 4 seconds.
CONCURRENT_REQUESTS = 2
PAUSE_SECONDS = 0.1
# Of the 60 that Dagster gives a sensor; the other months are checked at the next tick.
PLAN_SECONDS = 30
MANY_REFUSED = 4  # two or three of the months that have ended are not published yet
LONG_AGO = timedelta(days=180)
MONTHS_SHOWN = 4
UNKNOWN_VERSION = Version()
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LOAD_RETRY = 2 * MINUTE
REPORT_SECONDS = HOUR
# The first and the longest wait before a source is checked again.
UNREACHABLE_RETRY = (2 * MINUTE, 15 * MINUTE)
BLOCKED_RETRY = (5 * MINUTE, HOUR)


class Refusals:
    """The months that a publisher has, and those that it refused with HTTP 403.

    A refused month is not published yet, unless that month or a newer one is known to be, four are
    refused, or no month is known to be published although the refused one ended long ago: then the
    publisher blocks this address. Threads may share an instance.

    source:    the publisher's name in messages
    published: returns the partitions known to be published; called at the first refusal
    """

    def __init__(self, source: str, published: Callable[[], Iterable[str]], today: date) -> None:
        self._source, self._published, self._today = source, published, today
        self._found: set[str] = set()
        self._refused: dict[str, Forbidden] = {}
        self._lock = threading.Lock()

    def judge(self, partition: str, error: Exception | None) -> Exception | None:
        """Record the outcome of a request for a month; returns its error, Blocked if it is one."""
        with self._lock:
            if error is None:
                self._found.add(partition)
            elif isinstance(error, Forbidden):
                if not self._refused:
                    self._found.update(self._published())
                self._refused[partition] = error
                return self._block(is_final=False) or error
            return error

    def block(self, *, is_final: bool) -> Blocked | None:
        """The error that the publisher blocks this address; None where it does not.

        While other requests are under way (`is_final` false), an old month that is refused proves
        nothing: another one may still be found.
        """
        with self._lock:
            return self._block(is_final)

    def _block(self, is_final: bool) -> Blocked | None:
        if not self._refused:
            return None
        oldest = min(self._refused)
        newer = min((month for month in self._found if month > oldest), default=None)
        if oldest in self._found:
            text = f"{oldest[:7]}, which was published before"
        elif newer:
            text = f"{oldest[:7]} although {newer[:7]} is published"
        elif len(self._refused) >= MANY_REFUSED:
            text = _named(self._refused)
        elif is_final and not self._found and self._ended_long_ago(oldest):
            text = f"{oldest[:7]}, which ended long ago"
        else:
            return None
        waits = (error.wait_seconds or 0 for error in self._refused.values())
        return Blocked(
            f"{self._source} refuses requests (HTTP 403) for {text}: it is probably limiting this "
            "address",
            max(waits) or None,
        )

    def _ended_long_ago(self, partition: str) -> bool:
        return date.fromisoformat(partition) + LONG_AGO < self._today


@dataclass(frozen=True)
class LoadPlan:
    """The months by what they need. A month that was not checked is in none of the groups.

    published:     missing months that the publisher has
    replaced:      loaded months of which the publisher has another version now
    not_published: missing months that the publisher does not have
    current:       loaded months with nothing to do
    failed:        months whose check failed, with the error
    """

    published: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    not_published: tuple[str, ...] = ()
    current: tuple[str, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)

    @property
    def due(self) -> tuple[str, ...]:
        """The months to load, oldest first."""
        return tuple(sorted(self.published + self.replaced))

    @property
    def error(self) -> Exception | None:
        """The error that kept some month from being checked."""
        return next(iter(self.failed.values()), None)

    @property
    def reason_to_wait(self) -> str:
        """A sentence that says why nothing is loaded."""
        if isinstance(self.error, Blocked):
            return f"{self.error}."
        if self.error:
            return f"Could not reach the source ({self.error})."
        if self.not_published:
            return f"{_not_published(self.not_published)}."
        return _all_current(len(self.current))


def plan(
    partitions: Sequence[str],
    published_version: Callable[[str], Version],
    loaded_version: Callable[[str], Version | None],
    refusals: Refusals,
) -> LoadPlan:
    """Compare the published version of each month with the loaded one.

    Fetches a few versions at a time, up to the first failure.

    published_version: of a partition; raises as `published_files.fetch_version` does
    loaded_version:    of a partition; None where it is not loaded. The publisher is not asked
                       about a month with UNKNOWN_VERSION, which counts as current.
    """
    stop, deadline = threading.Event(), time.monotonic() + PLAN_SECONDS

    def check(partition: str) -> tuple[str, Exception | None]:
        version = loaded_version(partition)
        if version == UNKNOWN_VERSION:
            return "current", None
        if stop.is_set() or time.monotonic() > deadline:
            return "not checked", None
        try:
            published = published_version(partition)
            error = refusals.judge(partition, None)
        except DownloadError as raised:
            error = refusals.judge(partition, raised)
        if error and (not isinstance(error, NotPublished) or refusals.block(is_final=True)):
            stop.set()
            return "failed", error
        stop.wait(PAUSE_SECONDS)
        if error:  # a loaded month whose file was withdrawn stays
            return ("current" if version else "not_published"), error
        if version is None:
            return "published", None
        return ("current" if version.is_same_as(published) else "replaced"), None

    with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        results = dict(zip(partitions, pool.map(check, partitions), strict=True))
    if block := refusals.block(is_final=True):  # of months that were refused before, too
        for partition, (_, error) in results.items():
            if isinstance(error, Forbidden | Blocked):
                results[partition] = "failed", block

    def group(name: str) -> tuple[str, ...]:
        return tuple(sorted(month for month, (found, _) in results.items() if found == name))

    return LoadPlan(
        group("published"),
        group("replaced"),
        group("not_published"),
        group("current"),
        failed={
            month: error for month, (found, error) in results.items() if error and found == "failed"
        },
    )


@dataclass(frozen=True)
class PollState:
    """When a month is checked next, in seconds since 1970, and the wait before that.

    loads: how often in a row it was due: more than once where its runs fail
    """

    next: float
    wait: float
    state: Literal["current", "not published", "due", "unknown"] = "unknown"
    loads: int = 0


@dataclass(frozen=True)
class SourceRetry:
    """When a source that could not be reached is tried again; times in seconds since 1970."""

    next: float
    wait: float
    since: float
    reason: str
    is_block: bool


@dataclass(frozen=True)
class Polls:
    """When a service's months are checked, as stored in the sensor's cursor.

    source:      a hash of the publisher's address: another publisher is asked at once
    months:      by partition
    retry:       set while the publisher cannot be reached: no month is checked before
    reported:    the last message of the check `source_reachable`
    reported_at: when that was, in seconds since 1970
    """

    source: str = ""
    months: Mapping[str, PollState] = field(default_factory=dict)
    retry: SourceRetry | None = None
    reported: str = ""
    reported_at: float = 0.0

    @classmethod
    def from_cursor(cls, cursor: str | None, source: str) -> Self:
        """Read a cursor; start again where it is of another source or cannot be read."""
        try:
            polls = TypeAdapter(cls).validate_json(cursor or "{}")
        except ValidationError:
            polls = cls()
        return polls if polls.source == source else cls(source)

    def to_cursor(self) -> str:
        """The polls as JSON."""
        return TypeAdapter(type(self)).dump_json(self).decode()

    def is_waiting(self, now: float) -> bool:
        """Whether it is too early to ask the publisher for anything."""
        return self.retry is not None and now < self.retry.next <= now + DAY

    def is_reported(self, message: str, now: float) -> bool:
        """Whether a message was reported within the last hour."""
        return message == self.reported and now - REPORT_SECONDS <= self.reported_at <= now

    def due(self, partitions: Iterable[str], now: float) -> list[str]:
        """The months to check now; first those that have waited longest."""
        next_polls = {key: self.months[key].next if key in self.months else 0 for key in partitions}
        # A time beyond the longest wait was set by a clock that was wrong.
        due = [key for key, poll in next_polls.items() if poll <= now or poll > now + DAY]
        return sorted(due, key=lambda key: (next_polls[key], key))

    def after(self, partitions: Iterable[str], plan: LoadPlan, now: float) -> Self:
        """The polls after months were checked for a plan."""
        months = {key: self._month_after(key, plan, now) for key in partitions}
        return replace(
            self,
            months={key: poll for key, poll in months.items() if poll},
            retry=self._retry_after(plan.error, now),
        )

    def _month_after(self, key: str, plan: LoadPlan, now: float) -> PollState | None:
        """When to check a month again.

        The wait doubles from an hour to a day while the month is not published, from two minutes to
        a day while its runs fail; for a loaded month it is a day.
        """
        before = self.months.get(key)
        if key in plan.due:
            loads = before.loads + 1 if before else 1
            wait = min(LOAD_RETRY * 2 ** min(loads - 1, 20), DAY)
            return PollState(now + wait, wait, "due", loads)
        if key in plan.not_published:
            waited = before.wait if before and before.state == "not published" else 0
            wait = min(max(2 * waited, HOUR), DAY)
            return PollState(now + wait, wait, "not published")
        if key in plan.current:
            return PollState(now + DAY, DAY, "current")
        if key in plan.failed:  # after those that were not checked
            return replace(before or PollState(now, 0), next=now)
        return before

    def _retry_after(self, error: Exception | None, now: float) -> SourceRetry | None:
        if error is None:
            return None
        is_block = isinstance(error, Blocked)
        first, longest = BLOCKED_RETRY if is_block else UNREACHABLE_RETRY
        before = self.retry
        waited = before.wait if before and before.is_block == is_block else 0
        wait = min(max(2 * waited, first), longest)
        wanted = (isinstance(error, DownloadError) and error.wait_seconds) or 0
        return SourceRetry(
            next=now + min(max(wait, wanted), DAY),
            wait=wait,
            since=min(before.since, now) if before else now,
            reason=str(error),
            is_block=is_block,
        )

    def status(
        self, service: str, source: str, partitions: Collection[str], now: datetime
    ) -> SourceStatus:
        """The status of a service's source to show; `source` is its publisher's name."""
        if self.retry:
            since, next_check = _utc(self.retry.since), _utc(self.retry.next)
            reason, time_since = self.retry.reason, f"since {format_time(since, now)}"
            if self.retry.is_block:
                message = f"{reason} {time_since}"
            else:
                message = f"Could not reach {source} {time_since} ({reason})"
            return SourceStatus(
                service=service,
                state="unreachable",
                since=since,
                next_check=next_check,
                message=f"{message}; next try at {format_time(next_check, now)}.",
            )
        polls = {key: self.months.get(key, PollState(0, 0)) for key in partitions}
        waiting = [poll for poll in polls.values() if poll.state != "current"]
        soonest = min((poll.next for poll in waiting or polls.values()), default=0)
        next_check = max(_utc(min(soonest, now.timestamp() + DAY)), now)
        if waiting:
            message = f"{_waiting(polls)}; next check at {format_time(next_check, now)}."
        else:
            message = _all_current(len(polls))
        return SourceStatus(
            service=service,
            state="pending" if waiting else "current",
            since=now,
            next_check=next_check,
            message=message,
        )


def _waiting(polls: Mapping[str, PollState]) -> str:
    """What the months that are not current wait for."""

    def months(state: str) -> list[str]:
        return [key for key, poll in polls.items() if poll.state == state]

    loading = [key for key in months("due") if polls[key].loads == 1]
    failing = [key for key in months("due") if polls[key].loads > 1]
    found = (
        (loading, f"{_named(loading)} {_be(loading)} being loaded"),
        (failing, f"{_named(failing)} {_be(failing)} published, but not loaded by the last run"),
        (months("not published"), _not_published(months("not published"))),
        (months("unknown"), f"{_named(months('unknown'))} {_be(months('unknown'))} still to check"),
    )
    return "; ".join(text for keys, text in found if keys)


def _all_current(months: int) -> str:
    if months == 0:
        return "No month has ended since TAXI_START_DATE."
    if months == 1:
        return "The one published month is loaded and current."
    return f"All {months} published months are loaded and current."


def _not_published(partitions: Collection[str]) -> str:
    return f"{_named(partitions)} {_be(partitions)} not published yet"


def _be(partitions: Collection[str]) -> str:
    return "is" if len(partitions) == 1 else "are"


def _named(partitions: Iterable[str]) -> str:
    """Months in a message: all of a few, else their number, the first and the last."""
    months = [key[:7] for key in sorted(partitions)]
    if len(months) > MONTHS_SHOWN:
        return f"{len(months)} months from {months[0]} to {months[-1]}"
    *others, last = months or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
