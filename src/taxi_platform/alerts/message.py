"""The message of an alert, as JSON and as text."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from taxi_platform.problems import Problem

MOST_PROBLEMS = 50
MOST_REASON = 1500


@dataclass(frozen=True)
class Message:
    """Problems that are sent together. `ui` is the address of the UI.

    The same problems make the same `id`, by which a receiver recognizes a duplicate.
    """

    problems: Sequence[Problem]
    ui: str

    @property
    def id(self) -> str:
        keys = "\n".join(f"{problem.key} {problem.first}" for problem in self.problems)
        return hashlib.sha256(keys.encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        first, *more = self.problems
        teams = {problem.location for problem in self.problems}
        team = f"[{first.location}] " if len(teams) == 1 else ""
        return f"{team}{first.severity}: {first.title}" + (f" and {len(more)} more" if more else "")

    @property
    def text(self) -> str:
        """The title and each problem: what, where, since when, why and the link."""
        return self._in_words(str)

    def _in_words(self, escaped: Callable[[str], str]) -> str:
        told = "\n\n".join(_in_words(problem, self.ui, escaped) for problem in self._told)
        left = len(self.problems) - len(self._told)
        title = escaped(self.title)
        return f"{title}\n\n{told}" + (f"\n\nand {left} more: {self.ui}" if left else "")

    @property
    def json(self) -> dict[str, Any]:
        """The same in fields; `text` is what chat services show of it, its `&<>` escaped.

        To them `<!channel>` is a call to all members and `<https://…|text>` a link, also where it
        is the name of a file or part of an error.
        """
        return {
            "id": self.id,
            "text": self._in_words(partial(escape, quote=False)),
            "problems": [
                {
                    "kind": problem.kind,
                    "severity": problem.severity,
                    "what": problem.title,
                    "location": problem.location,
                    "team": problem.location,
                    "since": _moment(problem.first),
                    "reason": problem.reason[:MOST_REASON],
                    "link": self.ui + problem.path,
                }
                for problem in self._told
            ],
            "left_out": len(self.problems) - len(self._told),
        }

    @property
    def _told(self) -> Sequence[Problem]:
        return self.problems[:MOST_PROBLEMS]


def _in_words(problem: Problem, ui: str, escaped: Callable[[str], str]) -> str:
    return (
        f"{problem.severity}: {escaped(problem.title)}\n"
        f"where: location {escaped(problem.location)}\n"
        f"since: {_moment(problem.first)}\n"
        f"why: {escaped(problem.reason[:MOST_REASON])}\n"
        f"link: {ui}{problem.path}"
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
