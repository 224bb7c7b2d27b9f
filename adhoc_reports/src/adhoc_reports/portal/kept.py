"""The last answer of something that may be slow or away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
MOMENT = 0.3
REFRESH_SECONDS = 0.03
AWAY_SECONDS = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known(Generic[T]):
    """What was answered last, None where nothing ever was; and whether it is as of now.

    asked: when it was asked for, by the monotonic clock, in seconds
    """

    value: T | None
    current: bool
    asked: float = field(default=float("-inf"), compare=False)


class Kept(Generic[T]):
    """Asks at most once every `seconds`, once at a time, and waits for it `patience` seconds.

    What has not answered the last time is waited for a moment only. While a new answer is on its
    way, the last one counts as current for `patience` seconds: a look at 10,000 reports takes
    longer than a page may.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[T]], seconds: float, patience: float
    ) -> None:
        self.name, self.seconds, self.patience = name, seconds, patience
        self._ask = ask
        self._known: Known[T] = Known(None, current=False)
        self._asked = self._forgotten = self._started = float("-inf")
        self._took = 0.0
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> Known[T]:
        """The answer of now, or the last one where none comes in time."""
        away = self._asked > float("-inf") and not self._known.current
        begin = time.monotonic()
        while not self._is_fresh():
            if self._task is None:
                self._started = time.monotonic()
                self._task = asyncio.create_task(self._look())
            last = self._known
            usable = last.current and self._asked > self._forgotten and self._age_limit > begin
            if usable:  # a page asks several times, and waits once
                deadline = self._started + min(REFRESH_SECONDS, self.patience)
            else:
                deadline = begin + min(MOMENT if away else self.patience, self.patience)
            done, _ = await asyncio.wait({self._task}, timeout=max(0, deadline - time.monotonic()))
            if not done:
                in_time = time.monotonic() - self._started < self.patience
                return Known(last.value, usable and in_time, last.asked)
        return self._known

    def forget(self) -> None:
        """Whatever was asked before now is out of date."""
        self._forgotten = time.monotonic()

    def _is_fresh(self) -> bool:
        return self._asked > self._forgotten and time.monotonic() < self._fresh_until

    @property
    def _fresh_until(self) -> float:
        # What takes long is kept longer: asking is at most a quarter of the time.
        return self._asked + max(self.seconds, 4 * self._took)

    @property
    def _age_limit(self) -> float:
        """Until when the last answer may stand for a new one: after a quiet hour it may not."""
        return self._fresh_until + self.patience

    async def _look(self) -> None:
        asked = time.monotonic()
        try:
            self._known = Known(await self._ask(), current=True, asked=asked)
            self._asked, self._took = asked, time.monotonic() - asked
        except Exception as error:
            # Whatever it raises, the last answer stays, and pages say that it is not of now.
            if self._known.current or self._asked == float("-inf"):
                log.warning("%s does not answer: %r", self.name, error)
            self._known = Known(self._known.value, current=False, asked=self._known.asked)
            self._asked = time.monotonic()
            self._took = min(self._asked - asked, AWAY_SECONDS / 4)
        finally:
            self._task = None
