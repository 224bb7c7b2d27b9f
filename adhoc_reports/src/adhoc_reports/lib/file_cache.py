"""What the files of a folder hold, read again only where a listing has another version of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Postponed:
    """A file that was not read now but perhaps can be later.

    reason: why it could not be read; empty where it was left to a later look
    """

    reason: str = ""


class FileCache(Generic[T]):
    """The contents of files, by name.

    read:     reads files of these names; leaves out those that have been removed
    is_final: whether a content needs no second look while the file's version stays the same
    """

    def __init__(
        self,
        read: Callable[[Collection[str]], Mapping[str, T | Postponed]],
        is_final: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self.contents: dict[str, T] = {}
        self._read, self._is_final = read, is_final
        self._versions: dict[str, str] = {}
        self._failed: frozenset[str] = frozenset()

    def update(self, versions: Mapping[str, str], max_reads: int | None) -> dict[str, Postponed]:
        """Read the files that are new or have changed, at most `max_reads`; forget those removed.

        versions: of the listed files, by name, in the order to read them
        """
        new = [name for name, version in versions.items() if self._versions.get(name) != version]
        new.sort(key=self._failed.__contains__)  # what failed before keeps no other file waiting
        found = self._read(new[:max_reads])
        postponed = {name: Postponed() for name in new[len(new[:max_reads]) :]}
        postponed |= {name: each for name, each in found.items() if isinstance(each, Postponed)}
        read = {name: each for name, each in found.items() if not isinstance(each, Postponed)}
        known = versions.keys() - new
        self.contents = {n: each for n, each in self.contents.items() if n in known} | read
        self._versions = {n: versions[n] for n, c in self.contents.items() if self._is_final(c)}
        self._failed = frozenset(found.keys() - read)
        return postponed
