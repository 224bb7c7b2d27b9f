"""The cache in front of storage that is slow or fails."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic

import pytest

from adhoc_reports.portal.cache import CachedValue, StaleCache


@dataclass
class Source:
    """Answers with the number of the fetch once it is open, or raises."""

    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    fetches: int = 0
    is_broken: bool = False

    async def fetch(self) -> int:
        self.fetches += 1
        number = self.fetches
        await self.is_open.wait()
        if self.is_broken:
            raise OSError("broken")
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> StaleCache[int]:
    return StaleCache("numbers", source.fetch, ttl=60, timeout=60)


async def started(source: Source, fetches: int) -> None:
    while source.fetches < fetches:
        await asyncio.sleep(0)


def test_readers_share_a_fetch(source: Source, cache: StaleCache[int]) -> None:
    async def story() -> None:
        readers = [asyncio.create_task(cache.get()) for _ in range(9)]
        await started(source, 1)
        source.is_open.set()
        assert set(await asyncio.gather(*readers)) == {CachedValue(1, True)}
        assert await cache.get() == CachedValue(1, True)

    asyncio.run(story())


def test_invalidation_counts_for_a_running_fetch(source: Source, cache: StaleCache[int]) -> None:
    async def story() -> None:
        first = asyncio.create_task(cache.get())
        await started(source, 1)
        cache.invalidate()
        source.is_open.set()
        assert await cache.get() == CachedValue(2, True)
        assert await first == CachedValue(2, True)

    asyncio.run(story())


def test_failure_keeps_the_last_value_as_stale(source: Source, cache: StaleCache[int]) -> None:
    async def story() -> None:
        source.is_open.set()
        assert await cache.get() == CachedValue(1, True)
        source.is_broken = True
        cache.invalidate()
        assert await cache.get() == CachedValue(1, False)
        source.is_broken = False
        cache.invalidate()
        assert await cache.get() == CachedValue(3, True)

    asyncio.run(story())


def test_reader_waits_no_longer_than_the_timeout(source: Source) -> None:
    async def story() -> None:
        cache = StaleCache("numbers", source.fetch, ttl=60, timeout=0.02)
        for _ in range(2):
            assert await cache.get() == CachedValue(None, False)
        assert source.fetches == 1

    asyncio.run(story())


def test_slow_fetch_does_not_delay_readers(
    source: Source, cache: StaleCache[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adhoc_reports.portal.cache.REFRESH_SECONDS", 0.02)

    async def story() -> None:
        source.is_open.set()
        await cache.get()
        source.is_open.clear()
        pass_seconds(monkeypatch, 61)
        async with asyncio.timeout(5):
            assert await cache.get() == CachedValue(1, True)
        source.is_open.set()

    asyncio.run(story())


def test_value_of_an_hour_ago_is_not_shown_as_current(
    source: Source, cache: StaleCache[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adhoc_reports.portal.cache.REFRESH_SECONDS", 0)

    async def story() -> None:
        source.is_open.set()
        await cache.get()
        pass_seconds(monkeypatch, 3600)
        assert await cache.get() == CachedValue(2, True)

    asyncio.run(story())


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the cache's clock forward."""
    monkeypatch.setattr("adhoc_reports.portal.cache.monotonic", lambda: monotonic() + seconds)
