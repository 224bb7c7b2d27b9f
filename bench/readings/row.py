"""A row of the report's table, and how lists of values are written in it."""

from dataclasses import dataclass
from typing import Any

from bench.scale import median

Measured = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the target, the value, what it is made of.

    `met` is None where the target is about more than was measured, or there is none.
    """

    what: str
    target: str
    value: str
    made_of: str
    met: bool | None


def quantile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def spread(values: list[float], digits: int = 1) -> str:
    """Median, and in brackets the lowest and the highest."""
    low, high = min(values), max(values)
    return (
        f"{median(values):.{digits}f} s ({low:.{digits}f} … {high:.{digits}f}, n = {len(values)})"
    )
