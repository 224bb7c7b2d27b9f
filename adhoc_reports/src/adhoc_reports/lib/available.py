"""The catalog of available data: a file for the portal, which may not read the lake."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from adhoc_reports.lib import outputs
from adhoc_reports.lib.pickups import missing_months
from adhoc_reports.lib.report import at_moment
from adhoc_reports.lib.request import WHOLE_CITY, Problem, Question, in_words
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
    """The months and zones that a request can ask for.

    months:     oldest first
    zones:      names of the taxi zones, by borough
    versions:   of the lake's files that this was read from
    publishers: of all months, see `taxi_shared.provenance`
    """

    model_config = ConfigDict(frozen=True)

    months: tuple[LoadedMonth, ...] = ()
    zones: dict[str, tuple[str, ...]] = {}
    versions: dict[str, str] = {}
    publishers: tuple[str, ...] = ()

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
            return [Problem("start_date", "", "No data is loaded yet. Try again later.")]
        found = []
        start, end = question.dates
        period = f"Data covers {in_words_between(self.first_day, self.last_day)}."
        if not self.first_day <= start <= self.last_day:
            choose = f"{period} Choose a first day in that range."
            found.append(Problem("start_date", "", choose))
        if not self.first_day < end <= self.last_day + timedelta(days=1):
            found.append(Problem("end_date", "", f"{period} Choose a last day in that range."))
        if not found and (missing := missing_months(question.dates, self._loaded)):
            named = ", ".join(f"{month:%B %Y}" for month in missing)
            found.append(Problem("start_date", "", f"Not loaded: {named}. Choose other days."))
        return found + self._problems_of_area(question)

    def _problems_of_area(self, question: Question) -> list[Problem]:
        found = []
        zones = self.zones.get(question.borough, ())
        if question.zone and question.zone not in zones:
            unknown = f"{question.borough} has no zone {question.zone!r}."
            choose = f" Choose one of {', '.join(zones)}." if zones else ""
            found.append(Problem("zone", "", f"{unknown}{choose}"))
        if question.borough != WHOLE_CITY and not zones:
            choose = f" Choose one of {', '.join(self.zones)}." if self.zones else ""
            found.append(
                Problem("borough", "", f"No zones of {question.borough} are loaded.{choose}")
            )
        return found


def in_words_between(first: date, last: date) -> str:
    """Two days for people: 1 January to 31 March 2023."""
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%B}{year} to {in_words(last)}"


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
        publishers=tuple(lake.publishers(con, TRIPS)),
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
