"""A cache in front of something that may be slow or fail."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")
# How long a reader waits for a new value while the last one may still be shown.
REFRESH_SECONDS = 0.03
# How long a reader waits for something that failed the last time.
RETRY_SECONDS = 0.3
MAX_FAILURE_SECONDS = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedValue(Generic[T]):
    """The last value, None before the first, and whether it is up to date.

    fetched: when its fetch began, by the monotonic clock, in seconds
    """

    value: T | None
    is_current: bool
    fetched: float = field(default=float("-inf"), compare=False)


class StaleCache(Generic[T]):
    """Fetches at most every `ttl` seconds, once at a time, and keeps the last value on failure.

    A reader waits at most `timeout` seconds for a fetch; only a moment where the last one failed,
    or where the last value may still be shown: it counts as current for `timeout` seconds more,
    since a scan of 10,000 reports takes longer than a page may. A slow fetch is cached for longer,
    so that fetching takes at most a quarter of the time.
    """

    def __init__(
        self, name: str, fetch: Callable[[], Awaitable[T]], ttl: float, timeout: float
    ) -> None:
        self.name, self.ttl, self.timeout = name, ttl, timeout
        self._fetch = fetch
        self._cached: CachedValue[T] = CachedValue(None, is_current=False)
        self._fetched = self._invalidated = self._started = float("-inf")
        self._took = 0.0
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> CachedValue[T]:
        """The current value, or the last one where no fetch ends in time."""
        has_failed = self._fetched > float("-inf") and not self._cached.is_current
        begin = monotonic()
        while not self._is_fresh():
            if self._task is None:
                self._started = monotonic()
                self._task = asyncio.create_task(self._refresh())
            last = self._cached
            is_usable = last.is_current and self._is_valid and self._usable_until > begin
            if is_usable:  # from the start of the fetch: a page reads several times, and waits once
                deadline = self._started + min(REFRESH_SECONDS, self.timeout)
            else:
                deadline = begin + min(RETRY_SECONDS if has_failed else self.timeout, self.timeout)
            done, _ = await asyncio.wait({self._task}, timeout=max(0, deadline - monotonic()))
            if not done:
                is_in_time = monotonic() - self._started < self.timeout
                return CachedValue(last.value, is_usable and is_in_time, last.fetched)
        return self._cached

    def invalidate(self) -> None:
        """Fetch again before the next read; a fetch that is running now does not count."""
        self._invalidated = monotonic()

    def _is_fresh(self) -> bool:
        return self._is_valid and monotonic() < self._fresh_until

    @property
    def _is_valid(self) -> bool:
        return self._fetched > self._invalidated

    @property
    def _fresh_until(self) -> float:
        return self._fetched + max(self.ttl, 4 * self._took)

    @property
    def _usable_until(self) -> float:
        return self._fresh_until + self.timeout

    async def _refresh(self) -> None:
        started = monotonic()
        try:
            self._cached = CachedValue(await self._fetch(), is_current=True, fetched=started)
            self._fetched, self._took = started, monotonic() - started
        except Exception as error:  # each kind of storage raises its own
            if self._cached.is_current or self._fetched == float("-inf"):
                log.warning("%s cannot be read: %r", self.name, error)
            self._cached = CachedValue(self._cached.value, False, self._cached.fetched)
            self._fetched = monotonic()
            self._took = min(self._fetched - started, MAX_FAILURE_SECONDS / 4)
        finally:
            self._task = None
