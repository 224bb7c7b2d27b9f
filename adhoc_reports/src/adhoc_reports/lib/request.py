"""What a request is: the only place that says which names, areas and dates are accepted.

A request file holds a borough and two dates, of which the second is not counted:

    {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}

and, where one taxi zone is requested, its name: `"zone": "JFK Airport"`. All other fields have a
default, so that a request of an early release asks what it asked then: `kind` (see `kinds`),
`measure`, `service`, `side`, and those that only some kinds have.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Self
from unicodedata import category, normalize

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.kinds.trend import INTERVALS
from adhoc_reports.lib.measures import MEASURES
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.lib.words import in_words
from taxi_shared.tables import BOROUGHS

WHOLE_CITY = "New York City"
"""All five boroughs: without Newark Airport, and without trips whose zone is unknown."""

SUFFIX = ".json"
MAX_BYTES = 64 * 1024
MAX_NAME_CHARACTERS = 100
# A file system's limit is 255 bytes. An output's name is longer than its request's, and longest
# while the file is written.
MAX_NAME_BYTES = 200
# A request of such a name would replace a file that belongs to another team.
RESERVED_NAMES = frozenset({"manhattan_map", "manhattan_stats", "trips_by_week"})

_CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
# UPath takes a name that begins like this for an address, so no file of such a name was ever
# written.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+]+::|data:")
# Unicode's Bidi_Control: with them a name looks like another one.
_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# Characters without width or ink, besides those of category Cf: fillers and variation selectors.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_WINDOWS_CHARACTERS = '<>:"|?*'
_WINDOWS_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"}) | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}

_SHOWN_CHARACTERS = 60
_SHOWN_PROBLEMS = 5
_JSON_KINDS = {
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class InvalidRequest(Exception):
    """A request that cannot be answered; the message says what is wrong and what is accepted."""


def request_name(filename: str) -> str:
    """The name of a request, which names its output files: `jan` for `jan.json`.

    Accepts only names that common file systems, browsers and spreadsheets can keep. Raises
    ValueError with the instruction how to change the name.
    """
    name = stored_name(filename)
    if hidden := [c for c in name if category(c) == "Cf" or c in _INVISIBLE]:
        raise ValueError(f"leave out invisible characters such as U+{ord(hidden[0]):04X}")
    if name != name.strip():
        raise ValueError("leave out the blanks at the beginning and end")
    if refused := [c for c in _WINDOWS_CHARACTERS if c in name]:
        raise ValueError(f"leave out {' '.join(refused)}, which Windows does not allow in a name")
    if name.endswith("."):
        raise ValueError("leave out the dot at the end")
    device = name.partition(".")[0].rstrip()
    if device.casefold() in _WINDOWS_DEVICES:
        raise ValueError(f"choose another name: {device} is the name of a device on Windows")
    if "..." in name:  # a report is a partition
        raise ValueError("leave out ..., which Dagster does not allow in the name of a partition")
    return name


def stored_name(filename: str) -> str:
    """The name of a request, as `request_name`, for reading what is stored under it.

    Accepts every name that any release has accepted, so that its reports can still be read. Raises
    ValueError for a name that is no safe part of a path.
    """
    name = filename.removesuffix(SUFFIX)
    if name == filename:
        raise ValueError(_suffix_instruction(filename))
    if not name or name.startswith("."):
        raise ValueError("use a name that does not begin with a dot")
    too_long = f"use at most {MAX_NAME_CHARACTERS} characters, {MAX_NAME_BYTES} bytes in UTF-8"
    if len(name) > MAX_NAME_CHARACTERS:  # first: a URL may hold 64,000
        raise ValueError(too_long)
    if any(category(c) == "Cs" for c in name):  # what stands for a byte that is not UTF-8
        raise ValueError("use a name in UTF-8")
    if any(c in "/\\" or category(c) in _CONTROL_CATEGORIES for c in name):
        raise ValueError("leave out slashes, backslashes and control characters")
    if any(c in _BIDI_CONTROLS for c in name):
        raise ValueError("leave out characters that change the direction of text")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(too_long)
    if _ADDRESS.match(name):
        raise ValueError("leave out :, which Windows does not allow in a name")
    if name.casefold() in RESERVED_NAMES:
        raise ValueError("choose another name: the platform has a file of this name")
    return name


def looks_like_request(filename: str) -> bool:
    """Whether a file is meant as a request: `jan.json`, but also `jan.JSON` and `jan.json.txt`.

    A hidden file is still being written, and one such as `jan.json~` is an editor's or a copy's.
    """
    ending = filename.casefold().rstrip()
    return not filename.startswith(".") and ending.endswith((SUFFIX, f"{SUFFIX}.txt"))


def _suffix_instruction(filename: str) -> str:
    start = filename.casefold().find(SUFFIX)
    if start < 1:
        return f"use a name that ends with {SUFFIX}"
    return f"rename it to {shown_name(filename[:start] + SUFFIX)}: the name must end with {SUFFIX}"


def name_key(name: str) -> str:
    """Equal for names that a file system of macOS or Windows takes for the same."""
    return normalize("NFD", normalize("NFD", name).casefold())


@lru_cache(maxsize=65_536)  # the portal needs the name of every file once per second
def outcome_name(filename: str) -> str:
    """The name of a file's outcome: that of the request, or a safe one where that is refused."""
    try:
        return request_name(filename)
    except ValueError:
        # A local name that is not UTF-8 comes with surrogates in place of its bytes.
        name_bytes = filename.encode("utf-8", "surrogatepass")
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", filename.removesuffix(SUFFIX))[:60]
        return f"{readable}-{blake2b(name_bytes, digest_size=4).hexdigest()}"


@lru_cache(maxsize=65_536)  # as outcome_name
def is_stored_name(filename: str) -> bool:
    """Whether any release has accepted a file's name for a request."""
    try:
        stored_name(filename)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=65_536)  # as outcome_name
def is_request_name(filename: str) -> bool:
    """Whether a file's name is accepted for a request."""
    try:
        request_name(filename)
    except ValueError:
        return False
    return True


def _borough(value: str) -> str:
    if value not in (*BOROUGHS, WHOLE_CITY):
        raise ValueError(f"expected one of {', '.join(BOROUGHS)}, or {WHOLE_CITY} for all but EWR")
    return value


def _zone(value: str) -> str:
    # Which zones there are is in the lake; a name that none can have is refused here.
    if value and (not value.isprintable() or len(value) > MAX_NAME_CHARACTERS):
        raise ValueError("expected the name of a taxi zone, such as JFK Airport")
    return value


def _iso_date(value: str) -> str:
    expected = "expected a date such as 2023-01-10"
    # Python reads more of ISO 8601 than a form should take, 2023-W02-2 for one.
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError(expected)
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{expected}, and the calendar has no such day") from None
    return value


def _optional_borough(value: str) -> str:
    return _borough(value) if value else value


def _optional_date(value: str) -> str:
    return _iso_date(value) if value else value


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(filter(None, choices))}")
        return value

    return AfterValidator(check)


DEFAULT_KIND, DEFAULT_MEASURE, DEFAULT_SERVICE = (
    next(iter(each)) for each in (KINDS, MEASURES, SERVICES)
)
SIDES = ("pickup", "dropoff")
KIND_FIELDS = tuple(field for kind in KINDS.values() for field in kind.fields)
"""Fields that only some kinds have."""


class Question(BaseModel):
    """What a request asks for: a kind of report on the trips of an area, on some days."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    borough: Annotated[str, AfterValidator(_borough)] = Field(
        description=f"Borough of the pickups: {', '.join(BOROUGHS)}; or {WHOLE_CITY}, which is "
        "all of them but EWR.",
        examples=["Manhattan"],
        json_schema_extra={"enum": [*BOROUGHS, WHOLE_CITY]},
    )
    start_date: Annotated[str, AfterValidator(_iso_date)] = Field(
        description="First day of the pickups, such as 2023-01-10.",
        examples=["2023-01-10"],
        json_schema_extra={"format": "date"},
    )
    end_date: Annotated[str, AfterValidator(_iso_date)] = Field(
        description="The day after the last day of the pickups, such as 2023-01-25.",
        examples=["2023-01-25"],
        json_schema_extra={"format": "date"},
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="",
        description="A taxi zone of the borough, such as JFK Airport of Queens; empty for all.",
    )
    kind: Annotated[str, _one_of(*KINDS)] = Field(
        default=DEFAULT_KIND,
        description="Kind of report: "
        + "; ".join(f"{kind.name}: {kind.description}" for kind in KINDS.values()),
        json_schema_extra={"enum": list(KINDS)},
    )
    measure: Annotated[str, _one_of(*MEASURES)] = Field(
        default=DEFAULT_MEASURE,
        description="What is measured: "
        + "; ".join(f"{m.name}: {m.title}, {m.unit}".rstrip(", ") for m in MEASURES.values())
        + ".",
        json_schema_extra={"enum": list(MEASURES)},
    )
    service: Annotated[str, _one_of(*SERVICES)] = Field(
        default=DEFAULT_SERVICE,
        description=f"Service of TLC: {', '.join(SERVICES)}.",
        json_schema_extra={"enum": list(SERVICES)},
    )
    side: Annotated[str, _one_of(*SIDES)] = Field(
        default=SIDES[0],
        description="Which end of a trip is in the area: pickup or dropoff. Days and hours are "
        "always those of the pickup.",
        json_schema_extra={"enum": list(SIDES)},
    )
    interval: Annotated[str, _one_of("", *INTERVALS)] = Field(
        default="",
        description=f"Of a trend: {', '.join(INTERVALS)}; empty for {INTERVALS[0]}.",
        json_schema_extra={"enum": ["", *INTERVALS]},
    )
    other_borough: Annotated[str, AfterValidator(_optional_borough)] = Field(
        default="", description="Of a comparison: borough of the second area; empty for the same."
    )
    other_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="", description="Of a comparison: taxi zone of the second area; empty for all."
    )
    other_start_date: Annotated[str, AfterValidator(_optional_date)] = Field(
        default="",
        description="Of a comparison: first day of the second period; empty for the same.",
    )
    other_end_date: Annotated[str, AfterValidator(_optional_date)] = Field(
        default="",
        description="Of a comparison: the day after the last day of the second period.",
    )

    @model_validator(mode="after")
    def _zone_in_a_borough(self) -> Self:
        for prefix in ("", "other_"):
            zone, borough = getattr(self, f"{prefix}zone"), getattr(self, f"{prefix}borough")
            if zone and borough in ("", WHOLE_CITY):
                raise ValueError(
                    f"{prefix}zone is {_shown(zone)} of {borough or 'no borough'}; expected the "
                    "borough of the zone"
                )
        return self

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        kind = KINDS[self.kind]
        for field in KIND_FIELDS:
            if getattr(self, field) and field not in kind.fields:
                kinds = [each.name for each in KINDS.values() if field in each.fields]
                raise ValueError(
                    f"{field} is given, which a report of kind {self.kind} does not have; expected "
                    f"kind {' or '.join(kinds)}, or no {field}"
                )
        if self.zone and not kind.takes_zone:
            raise ValueError(
                f"zone is {_shown(self.zone)}; expected none: a report of kind {self.kind} shows "
                "all zones of a borough"
            )
        if lacking := SERVICES[self.service].lacks(MEASURES[self.measure].columns):
            raise ValueError(
                f"measure is {self.measure}, which cannot be computed for {self.service}: TLC "
                f"publishes no {' and '.join(lacking)} of it; expected another measure"
            )
        return self

    @model_validator(mode="after")
    def _second_part(self) -> Self:
        if bool(self.other_start_date) != bool(self.other_end_date):
            raise ValueError(
                "only one of other_start_date and other_end_date is given; expected both or none"
            )
        if self.other_start_date and self.other_start_date >= self.other_end_date:
            raise ValueError(
                f"other_start_date {self.other_start_date} is not before other_end_date "
                f"{self.other_end_date}; expected an other_end_date after other_start_date"
            )
        if "other_borough" in KINDS[self.kind].fields:
            first, second = self.parts
            if (first.area, first.dates) == (second.area, second.dates):
                raise ValueError(
                    "the second area and period are those of the first; expected other_borough, "
                    "or other_start_date and other_end_date, of something else to compare with"
                )
        return self

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.start_date >= self.end_date:
            raise ValueError(
                f"start_date {self.start_date} is not before end_date {self.end_date}; expected "
                "an end_date after start_date: the day end_date itself is not counted"
            )
        return self

    @property
    def dates(self) -> tuple[date, date]:
        """First day, and the day after the last."""
        return date.fromisoformat(self.start_date), date.fromisoformat(self.end_date)

    @property
    def days(self) -> str:
        """First and last day, for people."""
        start, end = self.dates
        last = end - timedelta(days=1)
        return in_words(start) if start == last else f"{in_words(start)} to {in_words(last)}"

    @property
    def first_and_last(self) -> tuple[str, str]:
        """First and last day, as 2023-01-10."""
        return self.start_date, (self.dates[1] - timedelta(days=1)).isoformat()

    @property
    def is_plain(self) -> bool:
        """Whether area and days say it all: a question that an early release could ask."""
        given = self.model_dump(exclude_defaults=True).keys()
        return given <= {"borough", "zone", "start_date", "end_date"}

    @property
    def heading(self) -> str:
        """The title of the report."""
        return KINDS[self.kind].heading(self)

    @property
    def parts(self) -> tuple["Question", ...]:
        """The areas and periods: this one, and the second one of a comparison."""
        if "other_borough" not in KINDS[self.kind].fields:
            return (self,)
        second = {
            "borough": self.other_borough or self.borough,
            "zone": self.other_zone if self.other_borough else self.zone,
            "start_date": self.other_start_date or self.start_date,
            "end_date": self.other_end_date or self.end_date,
        }
        return self, self.model_copy(update=second)

    @property
    def span(self) -> tuple[date, date]:
        """The first day of all parts, and the day after the last."""
        firsts, ends = zip(*(part.dates for part in self.parts), strict=True)
        return min(firsts), max(ends)

    @property
    def area(self) -> str:
        """Borough, or zone and borough, for people."""
        return f"{self.zone}, {self.borough}" if self.zone else self.borough

    def to_json(self) -> str:
        """The text of a request's file."""
        return json.dumps(self.model_dump(exclude_defaults=True)) + "\n"


FILE_FIELDS = tuple(Question.model_fields)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field (with the whole where it is empty), and what is accepted."""

    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.found}; {self.expected}" if self.found else self.expected


def check_name(filename: str) -> None:
    """Raises InvalidRequest for a name that no request can have."""
    try:
        request_name(filename)
    except ValueError as error:
        raise InvalidRequest(
            f"{shown_name(filename)} cannot be the name of a request: {error}"
        ) from None


def check_size(filename: str, size: int) -> None:
    """Raises InvalidRequest for a file of so many bytes that it is not worth reading."""
    if size == 0:
        raise InvalidRequest(f"{shown_name(filename)} is empty; {EXPECTED}")
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"{shown_name(filename)} has {size:,} bytes; expected at most {MAX_BYTES:,}"
        )


def read_request(filename: str, content: bytes) -> Question:
    """The question that a request's file asks.

    Raises InvalidRequest naming the file, the field and what is accepted.
    """
    shown = shown_name(filename)
    check_name(filename)
    check_size(filename, len(content))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{shown} is not text in UTF-8; {EXPECTED}") from None
    try:
        values = json.loads(text, object_pairs_hook=_reject_duplicate_fields)
    except InvalidRequest as error:
        raise InvalidRequest(f"{shown}: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{shown} is nested too deeply; {EXPECTED}") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"{shown} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            f"{EXPECTED}"
        ) from None
    except ValueError:  # a number of thousands of digits
        raise InvalidRequest(f"{shown} holds a number that is too long; {EXPECTED}") from None
    if not isinstance(values, dict):
        raise InvalidRequest(f"{shown} holds {_kind(values)}; {EXPECTED}")
    unknown = [field for field in values if field not in FILE_FIELDS]
    if unknown:
        raise InvalidRequest(f"{shown}: {join_messages(map(unknown_field, unknown))}")
    try:
        return Question.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(
            f"{shown}: {join_messages(map(str, problems(error.errors(include_url=False))))}"
        ) from None


EXPECTED = f"expected a JSON object with the fields {', '.join(FILE_FIELDS)}"


def shown_name(filename: str) -> str:
    """A file's name as a message can show it: on one line, shortened, and with visible blanks."""
    if not filename.isprintable() or filename != filename.strip():
        return _shown(filename)
    return _shortened(filename)


def _reject_duplicate_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field, value in pairs:
        if field in fields:
            raise InvalidRequest(f"field {_shown(field)} is there twice; expected it once")
        fields[field] = value
    return fields


def problems(errors: Iterable[Mapping[str, Any]]) -> Iterable[Problem]:
    """What pydantic has found wrong with the values of a request, in plain words."""
    for error in errors:
        field = str(error["loc"][-1]) if error["loc"] else ""
        found = f"{field} is {_shown(error['input'])}" if field else ""
        match error["type"]:
            case "missing":
                yield Problem(field, "", f"field {field} is missing")
            case "value_error":
                yield Problem(field, found, str(error["ctx"]["error"]))
            case "extra_forbidden":
                yield Problem(field, "", unknown_field(field))
            case "string_type" | "string_unicode":
                yield Problem(field, found, "expected text")
            case _:
                expected = str(error["msg"]).replace("Input should be", "expected")
                yield Problem(field, found, expected)


def unknown_field(field: str) -> str:
    """A sentence on a field that requests do not have."""
    return f"field {_shown(field)} is not known; expected {', '.join(FILE_FIELDS)}"


def join_messages(messages: Iterable[str]) -> str:
    """Messages as one sentence, the first few of them at length."""
    each = list(messages)
    more = len(each) - _SHOWN_PROBLEMS
    return "; ".join(each[:_SHOWN_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")


def _shown(value: object) -> str:
    return repr(_shortened(value)) if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    return _JSON_KINDS.get(type(value), "text")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
