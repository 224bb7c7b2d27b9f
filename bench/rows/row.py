"""A row of the report's table, and how it shows lists of values."""

from dataclasses import dataclass
from typing import Any

from bench.scale import median

Measured = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of the table: the measure, its target, its value, and what that is computed from.

    `met` is None if there is no target, or the run is too small to answer it.
    """

    measure: str
    target: str
    value: str
    details: str
    met: bool | None


def quantile(values: list[float], share: float) -> float:
    """The smallest value that is at least as large as a `share` of all values."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def spread(values: list[float], digits: int = 1) -> str:
    """The median, with the lowest, the highest and the number of values in brackets."""
    low, high = min(values), max(values)
    return (
        f"{median(values):.{digits}f} s ({low:.{digits}f} … {high:.{digits}f}, n = {len(values)})"
    )
