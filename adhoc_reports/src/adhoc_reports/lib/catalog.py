"""What requests can ask for, and when they were looked for last: two files for the portal.

The portal may read outputs and nothing else, so the platform writes both below `outputs/catalog`.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from upath import UPath

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import LoadedMonth, to_second, utc_now
from adhoc_reports.lib.pickups import missing_months
from adhoc_reports.lib.request import DEFAULT_SERVICE, WHOLE_CITY, Problem, Question
from adhoc_reports.lib.services import SERVICES, Service
from adhoc_reports.lib.words import in_words, month_in_words
from taxi_shared import storage
from taxi_shared.storage import DataRoot
from taxi_shared.tables import BOROUGHS, ZONES

if TYPE_CHECKING:
    import duckdb

    from taxi_shared.lake import Snapshot

TABLES = (*(service.days for service in SERVICES.values()), ZONES)
MAX_BYTES = 1024 * 1024
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

D = TypeVar("D", bound=BaseModel)


class Catalog(BaseModel):
    """The months and zones that a request can ask for.

    updated:    when this was read from the lake
    months:     of yellow taxis, oldest first
    services:   months of each other service, oldest first
    zones:      names of the taxi zones, by borough
    publishers: of all months, see `taxi_shared.provenance`
    """

    model_config = ConfigDict(frozen=True)

    updated: AwareDatetime = LONG_AGO
    months: tuple[LoadedMonth, ...] = ()
    services: dict[str, tuple[LoadedMonth, ...]] = {}
    zones: dict[str, tuple[str, ...]] = {}
    publishers: tuple[str, ...] = ()

    def of_service(self, name: str) -> "Catalog":
        """The same, with the months of a service."""
        if name == DEFAULT_SERVICE:
            return self
        return self.model_copy(update={"months": self.services.get(name, ())})

    @property
    def by_service(self) -> "dict[str, Catalog]":
        """The same, with the months of each service that has any, in the order of `SERVICES`."""
        found = {name: self.of_service(name) for name in SERVICES}
        return {name: catalog for name, catalog in found.items() if catalog.months}

    @property
    def all_months(self) -> tuple[LoadedMonth, ...]:
        """The months of all services."""
        return (*self.months, *(month for each in self.services.values() for month in each))

    @property
    def first_day(self) -> date | None:
        """The first day that can be requested; None where no month is loaded."""
        return self.months[0].month if self.months else None

    @property
    def last_day(self) -> date | None:
        """The last day that can be requested; None where no month is loaded."""
        if not self.months:
            return None
        return (self.months[-1].month + timedelta(days=31)).replace(day=1) - timedelta(days=1)

    @property
    def gaps(self) -> list[date]:
        """The first days of the months between first and last that are not loaded."""
        if not (self.first_day and self.last_day):
            return []
        return missing_months((self.first_day, self.last_day), self._loaded)

    @property
    def _loaded(self) -> Iterable[date]:
        return (month.month for month in self.months)

    def problems(self, question: Question) -> list[Problem]:
        """Why a question that is valid in itself cannot be answered from these data."""
        months = self.of_service(question.service)
        loaded = self.by_service
        if loaded and question.service not in loaded:
            title, choose = SERVICES[question.service].title, " or ".join(loaded)
            return [Problem("service", "", f"No month of {title} is loaded. Choose {choose}.")]
        first, *others = question.parts
        found = months._problems_of_part(first)
        for other in others:
            known = {str(each) for each in found}
            found += [
                Problem(f"other_{each.field}", each.found, each.expected)
                for each in months._problems_of_part(other)
                if str(each) not in known
            ]
        return found

    def _problems_of_part(self, question: Question) -> list[Problem]:
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
        missing = missing_months(question.dates, self._loaded)
        if KINDS[question.kind].shows_gaps:
            ends = {day.replace(day=1) for day in (start, end - timedelta(days=1))}
            missing = [month for month in missing if month in ends]
        if not found and missing:
            named = ", ".join(month_in_words(month) for month in missing)
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


class IntakeStatus(BaseModel):
    """When the sensor looked for requests last."""

    model_config = ConfigDict(frozen=True)

    checked: AwareDatetime = LONG_AGO


def in_words_between(first: date, last: date) -> str:
    """Two days for people: 1 January to 31 March 2023."""
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%B}{year} to {in_words(last)}"


def query_catalog(con: "duckdb.DuckDBPyConnection", lake: "Snapshot") -> Catalog:
    """What the lake has, by a connection with views of that moment of it."""
    months = {name: _months(con, lake, service) for name, service in SERVICES.items()}
    zones = con.execute(
        "SELECT DISTINCT borough, zone FROM zones WHERE zone IS NOT NULL ORDER BY ALL"
    ).fetchall()
    return Catalog(
        updated=utc_now(),
        months=months.pop(DEFAULT_SERVICE),
        services={name: found for name, found in months.items() if found},
        zones={
            borough: tuple(zone for of, zone in zones if of == borough)
            for borough in BOROUGHS
            if any(of == borough for of, _ in zones)
        },
        publishers=tuple(
            sorted({each for s in SERVICES.values() for each in lake.publishers(con, s.trips)})
        ),
    )


def _months(
    con: "duckdb.DuckDBPyConnection", lake: "Snapshot", service: Service
) -> tuple[LoadedMonth, ...]:
    query = (
        f"SELECT partition_date, SUM(num_trips) FROM {service.days.name} "  # noqa: S608 - our own name
        "GROUP BY ALL ORDER BY ALL"
    )
    return tuple(
        LoadedMonth(
            month=month,
            loaded=to_second(lake.files(service.trips)[month.isoformat()].modified),
            trips=int(trips),
        )
        for month, trips in con.execute(query).fetchall()
    )


def catalog_path(root: DataRoot) -> UPath:
    """The file of the catalog."""
    return root.outputs / "catalog" / "available_data.json"


def intake_path(root: DataRoot) -> UPath:
    """The file that says when the sensor looked for requests last."""
    return root.outputs / "catalog" / "intake.json"


def write_catalog(root: DataRoot, catalog: Catalog) -> None:
    """Replace the catalog."""
    storage.write_text(catalog_path(root), catalog.model_dump_json() + "\n")


def read_catalog(root: DataRoot) -> Catalog:
    """The catalog; an empty one where there is none."""
    return _read(catalog_path(root), Catalog())


def write_intake_status(root: DataRoot) -> None:
    """Record that requests have been looked for now."""
    status = IntakeStatus(checked=utc_now())
    storage.write_text(intake_path(root), status.model_dump_json() + "\n")


def read_intake_status(root: DataRoot) -> IntakeStatus:
    """When requests were looked for last; long ago where that is not recorded."""
    return _read(intake_path(root), IntakeStatus())


def _read(path: UPath, default: D) -> D:
    try:
        return type(default).model_validate_json(storage.read_bounded(path, MAX_BYTES))
    except (FileNotFoundError, storage.UnsafeFile, ValidationError):
        return default
