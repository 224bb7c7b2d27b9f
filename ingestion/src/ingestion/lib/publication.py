"""Which months to load now: those that are missing and that TLC has published."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ingestion.lib.download import DownloadError, NotPublished, Version

QUESTIONS_AT_ONCE = 8


@dataclass(frozen=True)
class Outlook:
    """What there is to do, by partition: published months to load, and why others must wait."""

    published: tuple[str, ...]
    waiting: dict[str, str]

    @property
    def reason_to_wait(self) -> str:
        """A sentence for the months that cannot be loaded; or that none is missing."""
        if not self.waiting:
            return "Every month so far is loaded."
        return "; ".join(f"{key[:7]}: {reason}" for key, reason in self.waiting.items())


def missing(expected: Iterable[str], loaded: Iterable[str]) -> list[str]:
    """The expected partitions that are not loaded, oldest first."""
    return sorted(set(expected) - set(loaded))


def outlook(partitions: Sequence[str], look: Callable[[str], Version]) -> Outlook:
    """Ask for each partition, side by side, whether its file is published.

    `look` answers for a partition or raises a DownloadError, as `download.look` does.
    """

    def ask(partition: str) -> str | None:
        try:
            look(partition)
        except NotPublished as error:
            return f"TLC has not published this month yet ({error})"
        except DownloadError as error:
            return f"could not be asked for ({error})"
        return None

    with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
        answers = dict(zip(partitions, pool.map(ask, partitions), strict=True))
    return Outlook(
        published=tuple(key for key, reason in answers.items() if reason is None),
        waiting={key: reason for key, reason in answers.items() if reason is not None},
    )
