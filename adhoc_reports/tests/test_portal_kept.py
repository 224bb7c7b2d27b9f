"""What is kept of something that may be slow or away."""

import asyncio

from adhoc_reports.portal.kept import Kept, Known


class Source:
    """Answers with how often it was asked, after `seconds`, or raises."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.asked, self.broken = seconds, 0, False

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise OSError("away")
        return number


def test_many_at_once_ask_once_and_later_ones_not_at_all():
    async def story() -> None:
        source = Source(0.05)
        kept = Kept("it", source.ask, seconds=60, patience=60)
        assert set(await asyncio.gather(*(kept.get() for _ in range(9)))) == {Known(1, True)}
        assert await kept.get() == Known(1, True)

    asyncio.run(story())


def test_what_is_forgotten_is_asked_again_even_if_an_answer_is_on_its_way():
    async def story() -> None:
        source = Source(0.05)
        kept = Kept("it", source.ask, seconds=60, patience=60)
        first = asyncio.create_task(kept.get())
        await asyncio.sleep(0.01)
        kept.forget()
        assert await kept.get() == Known(2, True)
        assert await first == Known(2, True)

    asyncio.run(story())


def test_the_last_answer_stays_where_none_comes_and_is_told_from_one_of_now():
    async def story() -> None:
        source = Source()
        kept = Kept("it", source.ask, seconds=0.01, patience=60)
        assert await kept.get() == Known(1, True)
        source.broken = True
        await asyncio.sleep(0.02)
        assert await kept.get() == Known(1, False)
        source.broken = False
        await asyncio.sleep(0.02)
        assert (await kept.get()).current

    asyncio.run(story())


def test_nobody_waits_longer_than_their_patience():
    async def story() -> None:
        source = Source(3600)
        kept = Kept("it", source.ask, seconds=0.01, patience=0.05)
        assert await kept.get() == Known(None, False)
        assert await kept.get() == Known(None, False)
        assert source.asked == 1

    asyncio.run(story())
