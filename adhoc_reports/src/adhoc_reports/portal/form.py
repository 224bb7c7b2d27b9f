"""The form of the first page: its values, its presets, and what is wrong with them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pydantic import BaseModel, ConfigDict, Field

from adhoc_reports.lib.catalog import Catalog
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.kinds.trend import INTERVALS
from adhoc_reports.lib.request import (
    DEFAULT_KIND,
    DEFAULT_MEASURE,
    DEFAULT_SERVICE,
    SIDES,
    WHOLE_CITY,
    Problem,
    Question,
)
from adhoc_reports.portal.api import NewReport

# The form's field for each field of a request; the others have the same name in both.
FORM_FIELDS = {
    **{f"{prefix}borough": f"{prefix}area" for prefix in ("", "other_")},
    **{f"{prefix}zone": f"{prefix}area" for prefix in ("", "other_")},
    **{f"{prefix}start_date": f"{prefix}first_day" for prefix in ("", "other_")},
    **{f"{prefix}end_date": f"{prefix}last_day" for prefix in ("", "other_")},
    **{each: each for each in ("name", "kind", "measure", "service", "side", "interval")},
}
# The same weekdays, a year before.
WEEKS_OF_A_YEAR = timedelta(weeks=52)


class ReportForm(BaseModel):
    """The values of the form, as typed. `area` is a borough, or a zone and its borough.

    `preset` is the key of the preset whose button was pressed; empty for none.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = DEFAULT_KIND
    area: str = ""
    first_day: str = ""
    last_day: str = ""
    measure: str = DEFAULT_MEASURE
    service: str = DEFAULT_SERVICE
    side: str = SIDES[0]
    interval: str = INTERVALS[0]
    other_area: str = ""
    other_first_day: str = ""
    other_last_day: str = ""
    name: str = ""
    preset: str = Field(default="", exclude=True)

    @classmethod
    def of(cls, question: Question) -> "ReportForm":
        """The form that asks a question."""
        first, *others = question.parts
        values = question.model_dump(include={"kind", "measure", "service", "side"})
        values |= {"interval": question.interval or INTERVALS[0]}
        values |= dict(zip(("first_day", "last_day"), first.first_and_last, strict=True))
        for other in others:
            first_day, last_day = other.first_and_last
            values |= {"other_area": other.area if other.area != first.area else ""}
            if other.dates != first.dates:
                values |= {"other_first_day": first_day, "other_last_day": last_day}
        return cls(**values, area=question.area)

    @property
    def changed(self) -> dict[str, str]:
        """The values that are not the default, for an address."""
        return self.model_dump(exclude_defaults=True)

    def with_period(self, catalog: Catalog) -> "ReportForm":
        """The same, with the last loaded month where no day is given."""
        if self.first_day or self.last_day or not (months := catalog.months):
            return self
        first, last = months[-1].month, catalog.last_day
        return self.model_copy(update={"first_day": str(first), "last_day": str(last)})

    def with_preset(self, catalog: Catalog) -> "ReportForm":
        """The same, with the days of the preset."""
        found = [each.values for each in presets(self, catalog) if each.key == self.preset]
        return self.model_copy(update={"preset": "", **(found[0] if found else {})})

    @property
    def of_other_kinds(self) -> dict[str, str]:
        """The values of fields that the form of this kind does not show."""
        fields = KINDS[self.kind].fields if self.kind in KINDS else ()
        shown = {FORM_FIELDS[field] for field in fields}
        hidden = {FORM_FIELDS[field] for kind in KINDS.values() for field in kind.fields} - shown
        return {name: value for name, value in self.changed.items() if name in hidden}

    def to_report(self, catalog: Catalog) -> NewReport:
        """The request. Raises ValidationError."""
        borough, zone = parse_area(self.area, catalog)
        fields = KINDS[self.kind].fields if self.kind in KINDS else ()
        values = {
            "kind": self.kind,
            "borough": borough,
            "zone": zone,
            "start_date": self.first_day,
            "end_date": _day_after(self.last_day),
            "measure": self.measure,
            "service": self.service,
            "side": self.side,
            "name": self.name.strip(),
        }
        # A form without script may have fields of another kind filled in: they are not asked.
        if "interval" in fields:
            values["interval"] = "" if self.interval == INTERVALS[0] else self.interval
        if "other_borough" in fields:
            other_borough, other_zone = parse_area(self.other_area, catalog)
            values |= {
                "other_borough": other_borough,
                "other_zone": other_zone,
                "other_start_date": self.other_first_day,
                "other_end_date": _day_after(self.other_last_day),
            }
        return NewReport.model_validate(values)


def parse_area(text: str, catalog: Catalog) -> tuple[str, str]:
    """Borough and zone of `JFK Airport, Queens`, `jfk airport`, `Queens` or `Queens/JFK Airport`.

    What is neither stays as it is, as a borough, and is refused later.
    """
    typed = " ".join(text.split())
    known = areas(catalog)
    wanted = typed.casefold()
    for borough, zone in known:
        zone_first, borough_first = f"{zone}, {borough}", f"{borough}/{zone}"
        if wanted in (
            each.casefold() for each in ((zone_first, borough_first) if zone else (borough,))
        ):
            return borough, zone
    of_name = [(borough, zone) for borough, zone in known if zone.casefold() == wanted and zone]
    if len(of_name) == 1:
        return of_name[0]
    boroughs = (WHOLE_CITY, *catalog.zones)
    borough, _, zone = typed.partition("/")
    if zone and borough in boroughs:
        return borough, zone
    zone, _, borough = typed.rpartition(", ")
    return (borough, zone) if zone and borough in boroughs else (typed, "")


def areas(catalog: Catalog) -> list[tuple[str, str]]:
    """All boroughs and zones that can be requested, the city first; an empty zone is all zones."""
    boroughs = [(borough, "") for borough in (WHOLE_CITY, *catalog.zones)]
    return boroughs + [
        (borough, zone) for borough in catalog.zones for zone in catalog.zones[borough]
    ]


@dataclass(frozen=True)
class Preset:
    """Days that one click fills in: into `first_day` and `last_day`, or the other ones."""

    key: str
    label: str
    fields: tuple[str, str]
    days: tuple[date, date]

    @property
    def values(self) -> dict[str, str]:
        """The values of the form's fields."""
        return dict(zip(self.fields, map(str, self.days), strict=True))


def presets(form: ReportForm, catalog: Catalog) -> list[Preset]:
    """Days to choose from: last month, last three months, all, and the same weeks last year."""
    months, last = catalog.months, catalog.last_day
    if not months or last is None:
        return []
    own = ("first_day", "last_day")
    found = [Preset("month", "Last loaded month", own, (months[-1].month, last))]
    quarter = [m for m in months[-3:] if (last - m.month).days < 93]  # noqa: PLR2004 - three months
    if len(quarter) > 1:
        found.append(
            Preset("quarter", f"Last {len(quarter)} months", own, (quarter[0].month, last))
        )
    found.append(Preset("week", "Last Sunday to Saturday", own, _last_week(last)))
    try:
        days = date.fromisoformat(form.first_day), date.fromisoformat(form.last_day)
        before = days[0] - WEEKS_OF_A_YEAR, days[1] - WEEKS_OF_A_YEAR
    except (ValueError, OverflowError):
        return found
    # Offered for data of more than a year, even if not of the days that are filled in: they change.
    if catalog.first_day and last - WEEKS_OF_A_YEAR >= catalog.first_day:
        is_comparison = form.kind in KINDS and "other_borough" in KINDS[form.kind].fields
        fields = ("other_first_day", "other_last_day") if is_comparison else own
        found.append(Preset("year_before", "Same weeks last year", fields, before))
    return found


def _last_week(last: date) -> tuple[date, date]:
    """The last whole week until a day, Sunday to Saturday as those of trends."""
    saturday = last - timedelta(days=(last.isoweekday() + 1) % 7)
    return saturday - timedelta(days=6), saturday


def field_errors(problems: Iterable[Problem]) -> dict[str, str]:
    """What is wrong, by field of the form; by "" what is wrong with the whole."""
    errors: dict[str, str] = {}
    for problem in problems:
        field, sentence = _field_error(problem)
        errors.setdefault(field, sentence)
    return errors


# Errors of a whole request, by a part of their text, for people who do not know its fields.
_WHOLE: Sequence[tuple[str, str, str]] = (
    ("something else to compare", "other_area", "Choose another area, or other days."),
    ("other_end_date", "other_last_day", "Choose both days; the last is not before the first."),
    ("is not before end_date", "last_day", "The last day is before the first day."),
    ("shows all zones", "area", "Choose a borough: the map shows all its zones."),
    ("cannot be computed for", "measure", ""),
)


def _field_error(problem: Problem) -> tuple[str, str]:
    """The form's field and the sentence beside it, without the names of the file's fields."""
    for words, field, sentence in _WHOLE:
        if not problem.field and words in problem.expected:
            return field, sentence or _sentence(problem.expected)
    names_the_field = problem.found.startswith(f"{problem.field} is")
    sentence = problem.expected if names_the_field else str(problem)
    return FORM_FIELDS.get(problem.field, ""), _sentence(sentence)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _day_after(day: str) -> str:
    """The next day; what is no date stays as it is, and is refused later."""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return day


def choices(mapping: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and titles of a registry, for a select."""
    return [(name, str(getattr(each, "title", name))) for name, each in mapping.items()]
