"""What a load of months is followed by: the assets of every location but ingestion, in runs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache

from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import Asset

SUNDAY = 6


@dataclass(frozen=True)
class Batch:
    """Assets of a location that one run materializes, for all of `partitions` if there are any."""

    location: str
    assets: tuple[str, ...]
    partitions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The location, its assets, and the range of partitions."""
        keys = self.partitions
        period = (
            f" from {keys[0]} to {keys[-1]}" if len(keys) > 1 else "".join(f" {k}" for k in keys)
        )
        return f"{self.location}: {', '.join(self.assets)}{period}"


def plan_batches(assets: Iterable[Asset], months: MonthRange) -> list[list[Batch]]:
    """The runs for a range of months and the full weeks in it, as steps one after the other.

    An asset is in a later step than those of other runs that it depends on. Assets whose partitions
    are neither months nor weeks, such as reports, and those of a range without full weeks are left
    out.
    """
    followed = {asset.name: asset for asset in assets}
    chosen = {name: _choose_keys(asset.partitions, months) for name, asset in followed.items()}
    runs = {
        name: (followed[name].location, keys) for name, keys in chosen.items() if keys is not None
    }

    @cache
    def step(name: str) -> int:
        upstream = followed[name].upstream & runs.keys()
        return max((step(each) + (runs[each] != runs[name]) for each in upstream), default=0)

    steps: dict[int, dict[tuple[str, tuple[str, ...]], list[str]]] = {}
    for name, run in sorted(runs.items()):
        steps.setdefault(step(name), {}).setdefault(run, []).append(name)
    return [
        [Batch(location, tuple(names), keys) for (location, keys), names in steps[number].items()]
        for number in sorted(steps)
    ]


def _choose_keys(partitions: Sequence[str] | None, months: MonthRange) -> tuple[str, ...] | None:
    """The partitions of a range of months: none for an asset without; None for one to leave out."""
    if partitions is None:
        return ()
    try:
        days = [date.fromisoformat(key) for key in partitions]
    except ValueError:
        return None
    wanted = _days_like(days, months)
    return tuple(d.isoformat() for d in wanted if d in set(days)) or None


def _days_like(days: Collection[date], months: MonthRange) -> Sequence[date]:
    """The months or the weeks of the range, depending on which days are the keys of partitions."""
    if all(day.day == 1 for day in days):
        return months.months
    if all(day.weekday() == SUNDAY for day in days):
        return months.full_weeks
    return []
