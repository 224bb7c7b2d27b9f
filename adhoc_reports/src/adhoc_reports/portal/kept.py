"""The last answer of something that may be slow or away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
MOMENT = 0.3
AWAY_SECONDS = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known(Generic[T]):
    """What was answered last, None where nothing ever was; and whether it is as of now."""

    value: T | None
    current: bool


class Kept(Generic[T]):
    """Asks at most once every `seconds`, once at a time, and waits for it `patience` seconds.

    What has not answered the last time is waited for a moment only.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[T]], seconds: float, patience: float
    ) -> None:
        self.name, self.seconds, self.patience = name, seconds, patience
        self._ask = ask
        self._known: Known[T] = Known(None, current=False)
        self._asked = self._forgotten = float("-inf")
        self._took = 0.0
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> Known[T]:
        """The answer of now, or the last one where none comes in time."""
        away = self._asked > float("-inf") and not self._known.current
        deadline = time.monotonic() + (min(MOMENT, self.patience) if away else self.patience)
        while not self._is_fresh():
            if self._task is None:
                self._task = asyncio.create_task(self._look())
            done, _ = await asyncio.wait({self._task}, timeout=max(0, deadline - time.monotonic()))
            if not done:
                return Known(self._known.value, current=False)
        return self._known

    def forget(self) -> None:
        """Whatever was asked before now is out of date."""
        self._forgotten = time.monotonic()

    def _is_fresh(self) -> bool:
        # What takes long is kept longer: asking is at most a quarter of the time.
        kept = max(self.seconds, 4 * self._took)
        return self._asked > self._forgotten and time.monotonic() - self._asked < kept

    async def _look(self) -> None:
        asked = time.monotonic()
        try:
            self._known = Known(await self._ask(), current=True)
            self._asked, self._took = asked, time.monotonic() - asked
        except Exception as error:
            # Whatever it raises, the last answer stays, and pages say that it is not of now.
            if self._known.current or self._asked == float("-inf"):
                log.warning("%s does not answer: %r", self.name, error)
            self._known = Known(self._known.value, current=False)
            self._asked = time.monotonic()
            self._took = min(self._asked - asked, AWAY_SECONDS / 4)
        finally:
            self._task = None
