"""Which months to load now: those that are missing and published, and those that were replaced."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ingestion.lib.download import DownloadError, NotPublished, Version

QUESTIONS_AT_ONCE = 8
FIRST_RETRY = 2 * 60
HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Outlook:
    """What there is to do, by partition.

    published: missing months that the publisher has
    replaced:  loaded months of which the publisher has another version now
    waiting:   missing months that cannot be loaded, and why
    """

    published: tuple[str, ...]
    replaced: tuple[str, ...]
    waiting: Mapping[str, str]

    @property
    def due(self) -> tuple[str, ...]:
        """The months to load, oldest first."""
        return tuple(sorted(self.published + self.replaced))

    @property
    def reason_to_wait(self) -> str:
        """A sentence for the months that cannot be loaded; or that there is nothing to load."""
        if not self.waiting:
            return "Every month so far is loaded, and as it is published."
        return "; ".join(f"{key[:7]}: {reason}" for key, reason in self.waiting.items())


def outlook(
    partitions: Sequence[str],
    loaded: Set[str],
    look: Callable[[str], Version],
    known: Callable[[str], Version | None],
) -> Outlook:
    """Ask for each partition, side by side, what is published: one request each.

    `look` answers for a partition or raises a DownloadError, as `download.look` does. `known` is
    the version of a loaded one; where it is None, the publisher is not asked.
    """
    published, replaced, waiting = [], [], {}

    def ask(partition: str) -> tuple[Version | None, Version | DownloadError | None]:
        version = known(partition) if partition in loaded else None
        if partition in loaded and version is None:
            return None, None
        try:
            return version, look(partition)
        except DownloadError as error:
            return version, error

    with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
        for partition, (version, answer) in zip(partitions, pool.map(ask, partitions), strict=True):
            if version is None and isinstance(answer, Version):
                published.append(partition)
            elif version is None and isinstance(answer, DownloadError):
                waiting[partition] = _reason(answer)
            elif version and isinstance(answer, Version) and not version.is_same_as(answer):
                replaced.append(partition)
    return Outlook(tuple(published), tuple(replaced), waiting)


@dataclass(frozen=True)
class Turn:
    """When a month is to be asked for again, in seconds since 1970, and the wait before that.

    `due` is how often in a row it was there to be loaded: more than once where its runs fail.
    """

    next: float
    wait: float
    due: int = 0


def turns_due(partitions: Iterable[str], turns: Mapping[str, Turn], now: float) -> list[str]:
    """The months that it is time to ask for."""
    return [key for key in partitions if key not in turns or turns[key].next <= now]


def turns_after(
    partitions: Iterable[str], turns: Mapping[str, Turn], asked: Outlook, now: float
) -> dict[str, Turn]:
    """When to ask for each month next.

    For one that is not published the wait doubles from an hour to a day; for one that is to be
    loaded from two minutes to a day, while its runs fail; for the others it is a day.
    """
    after = {}
    for key in partitions:
        turn = turns.get(key, Turn(now, 0))
        if turn.next <= now:
            due, wait = 0, float(DAY)
            if key in asked.due:
                due, wait = turn.due + 1, min(FIRST_RETRY * 2.0**turn.due, DAY)
            elif key in asked.waiting:
                wait = min(max(2 * turn.wait, HOUR), DAY)
            turn = Turn(now + wait, wait, due)
        after[key] = turn
    return after


def _reason(error: DownloadError) -> str:
    if isinstance(error, NotPublished):
        return f"TLC has not published this month yet ({error})"
    return f"could not be asked for ({error})"
