"""What data there are to ask for, told in a file for whoever may not look into the lake."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from adhoc_reports.lib import outputs
from adhoc_reports.lib.pickups import missing_months
from adhoc_reports.lib.report import at_moment
from adhoc_reports.lib.request import WHOLE_CITY, Problem, Question
from taxi_shared import storage
from taxi_shared.storage import DataRoot
from taxi_shared.tables import BOROUGHS, TRIP_DAYS, TRIPS, ZONES

if TYPE_CHECKING:
    import duckdb

    from taxi_shared.lake import Lake

TABLES = (TRIP_DAYS, ZONES)
MAX_BYTES = 1024 * 1024


class LoadedMonth(BaseModel):
    """A month of TLC's files in the lake: its first day, when it was loaded, and its trips."""

    model_config = ConfigDict(frozen=True)

    month: date
    loaded: datetime
    trips: int


class Available(BaseModel):
    """What there is to ask for.

    months:   oldest first
    zones:    names of the taxi zones, by borough
    versions: of the lake's files that this was read from
    """

    model_config = ConfigDict(frozen=True)

    months: tuple[LoadedMonth, ...] = ()
    zones: dict[str, tuple[str, ...]] = {}
    versions: dict[str, str] = {}

    @property
    def first_day(self) -> date | None:
        return self.months[0].month if self.months else None

    @property
    def last_day(self) -> date | None:
        if not self.months:
            return None
        return (self.months[-1].month + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    @property
    def gaps(self) -> list[date]:
        """The first days of the months between first and last that are not there."""
        if not (self.first_day and self.last_day):
            return []
        return missing_months((self.first_day, self.last_day), self._loaded)

    @property
    def _loaded(self) -> Iterable[date]:
        return (month.month for month in self.months)

    def problems(self, question: Question) -> list[Problem]:
        """Why a question that is valid in itself cannot be answered from these data."""
        if not (self.first_day and self.last_day):
            return [Problem("start_date", "no data are loaded yet", "expected a question later")]
        found = []
        start, end = question.dates
        period = f"expected days from {self.first_day} to {self.last_day}"
        if not self.first_day <= start <= self.last_day:
            found.append(Problem("start_date", f"the first day is {start}", period))
        if not self.first_day < end <= self.last_day + timedelta(days=1):
            last = end - timedelta(days=1)
            found.append(Problem("end_date", f"the last day is {last}", period))
        if not found and (missing := missing_months(question.dates, self._loaded)):
            named = ", ".join(f"{month:%Y-%m}" for month in missing)
            found.append(
                Problem("start_date", f"no data are loaded of {named}", "expected other days")
            )
        zones = self.zones.get(question.borough, ())
        if question.zone and question.zone not in zones:
            expected = f"expected one of {', '.join(zones)}" if zones else "expected none"
            found.append(
                Problem("zone", f"{question.borough} has no zone {question.zone!r}", expected)
            )
        if question.borough != WHOLE_CITY and not zones:
            found.append(
                Problem(
                    "borough",
                    f"no zones of {question.borough} are loaded",
                    f"expected one of {', '.join(self.zones) or 'none yet'}",
                )
            )
        return found


def versions(lake: "Lake") -> dict[str, str]:
    """Of the lake's files that tell what there is to ask for."""
    return {partition: v for table in TABLES for partition, v in lake.versions(table).items()}


def find(con: "duckdb.DuckDBPyConnection", lake: "Lake", versions: dict[str, str]) -> Available:
    """What the lake has, by a connection with views of `TABLES`."""
    months = con.execute(
        "SELECT partition_date, SUM(num_trips) FROM trip_days GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    zones = con.execute(
        "SELECT DISTINCT borough, zone FROM zones WHERE zone IS NOT NULL ORDER BY ALL"
    ).fetchall()
    return Available(
        months=tuple(
            LoadedMonth(
                month=month,
                loaded=at_moment(lake.file(TRIPS, month.isoformat()).stat().st_mtime),
                trips=int(trips),
            )
            for month, trips in months
        ),
        zones={
            borough: tuple(zone for of, zone in zones if of == borough)
            for borough in BOROUGHS
            if any(of == borough for of, _ in zones)
        },
        versions=versions,
    )


def tell(root: DataRoot, available: Available) -> None:
    """Write down what there is to ask for."""
    storage.write_text(outputs.available_path(root), available.model_dump_json())


def told(root: DataRoot) -> Available:
    """What was written down last; nothing where nothing was, or what is no such file."""
    try:
        content = storage.read_bounded(outputs.available_path(root), MAX_BYTES)
        return Available.model_validate_json(content)
    except (FileNotFoundError, storage.UnsafeFile, ValidationError):
        return Available()
