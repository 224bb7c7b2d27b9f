"""The message of an alert, as JSON and as text."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from taxi_platform.problems import Problem

MAX_PROBLEMS = 50
MAX_REASON_CHARS = 1500


@dataclass(frozen=True)
class Message:
    """Problems that are sent together. `ui` is the address of the UI, for links."""

    problems: Sequence[Problem]
    ui: str

    @property
    def id(self) -> str:
        """The same for the same problems, so that a receiver can drop duplicates."""
        keys = "\n".join(f"{problem.key} {problem.first}" for problem in self.problems)
        return hashlib.sha256(keys.encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        """The first problem in one line, and how many follow."""
        first, *more = self.problems
        teams = {problem.location for problem in self.problems}
        team = f"[{first.location}] " if len(teams) == 1 else ""
        return f"{team}{first.severity}: {first.title}" + (f" and {len(more)} more" if more else "")

    @property
    def text(self) -> str:
        """The title and each problem: what, where, since when, why, and a link."""
        return self._format(str)

    def _format(self, escape_text: Callable[[str], str]) -> str:
        shown = "\n\n".join(
            _format_problem(problem, self.ui, escape_text) for problem in self._shown
        )
        omitted = len(self.problems) - len(self._shown)
        title = escape_text(self.title)
        return f"{title}\n\n{shown}" + (f"\n\nand {omitted} more: {self.ui}" if omitted else "")

    @property
    def json(self) -> dict[str, Any]:
        """The same as fields. Chat services show `text`, with `&<>` escaped.

        They take `<!channel>` for a call to all members and `<https://…|text>` for a link, even
        inside a file name or an error.
        """
        return {
            "id": self.id,
            "text": self._format(partial(escape, quote=False)),
            "problems": [problem_fields(problem, self.ui) for problem in self._shown],
            "left_out": len(self.problems) - len(self._shown),
        }

    @property
    def _shown(self) -> Sequence[Problem]:
        return self.problems[:MAX_PROBLEMS]


def problem_fields(problem: Problem, ui: str) -> dict[str, str]:
    """A problem as JSON; `ui` is the address of the UI, for its link."""
    return {
        "kind": problem.kind,
        "severity": problem.severity,
        "what": problem.title,
        "location": problem.location,
        "team": problem.location,
        "since": _iso_time(problem.first),
        "reason": problem.reason[:MAX_REASON_CHARS],
        "link": ui + problem.path,
    }


def _format_problem(problem: Problem, ui: str, escape_text: Callable[[str], str]) -> str:
    return (
        f"{problem.severity}: {escape_text(problem.title)}\n"
        f"where: location {escape_text(problem.location)}\n"
        f"since: {_iso_time(problem.first)}\n"
        f"why: {escape_text(problem.reason[:MAX_REASON_CHARS])}\n"
        f"link: {ui}{problem.path}"
    )


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
