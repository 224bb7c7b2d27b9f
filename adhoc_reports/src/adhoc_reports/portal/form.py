"""The form of the first page: its values, and what is wrong with them."""

from collections.abc import Iterable
from datetime import date, timedelta

from pydantic import BaseModel, ConfigDict

from adhoc_reports.lib.request import Problem, Question
from adhoc_reports.portal.api import NewReport

# The form's field for each field of a request.
FORM_FIELDS = {
    "borough": "area",
    "zone": "area",
    "start_date": "first_day",
    "end_date": "last_day",
    "name": "name",
}


class ReportForm(BaseModel):
    """The values of the form, as typed. `area` is a borough, or borough/zone."""

    model_config = ConfigDict(frozen=True)

    area: str = ""
    first_day: str = ""
    last_day: str = ""
    name: str = ""

    @classmethod
    def of(cls, question: Question) -> "ReportForm":
        """The form that asks a question."""
        start, end = question.dates
        area = f"{question.borough}/{question.zone}" if question.zone else question.borough
        last_day = (end - timedelta(days=1)).isoformat()
        return cls(area=area, first_day=start.isoformat(), last_day=last_day)

    def to_report(self) -> NewReport:
        """The request. Raises ValidationError."""
        borough, _, zone = self.area.partition("/")
        return NewReport.model_validate(
            {
                "borough": borough,
                "zone": zone,
                "start_date": self.first_day,
                "end_date": _day_after(self.last_day),
                "name": self.name.strip(),
            }
        )


def field_errors(problems: Iterable[Problem]) -> dict[str, str]:
    """What is wrong, by field of the form; by "" what is wrong with the whole."""
    errors: dict[str, str] = {}
    for problem in problems:
        field, sentence = _field_error(problem)
        errors.setdefault(field, sentence)
    return errors


def _field_error(problem: Problem) -> tuple[str, str]:
    """The form's field and the sentence beside it, without the names of the file's fields."""
    if "is not before end_date" in problem.expected:
        return "last_day", "The last day is before the first day."
    names_the_field = problem.found.startswith(f"{problem.field} is")
    sentence = problem.expected if names_the_field else str(problem)
    sentence = f"{sentence[:1].upper()}{sentence[1:].removesuffix('.')}."
    return FORM_FIELDS.get(problem.field, ""), sentence


def _day_after(day: str) -> str:
    """The next day; what is no date stays as it is, and is refused later."""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return day
