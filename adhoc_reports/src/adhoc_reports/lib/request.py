"""What a request is: the only place that says which names, boroughs and dates are accepted.

A request file holds a borough and two dates, of which the second is not counted:

    {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}
"""

import json
import re
from collections.abc import Iterable
from datetime import date
from hashlib import blake2b
from typing import Annotated, Any, Self
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from taxi_shared import keys
from taxi_shared.tables import BOROUGHS

SUFFIX = ".json"
MAX_BYTES = 64 * 1024
MAX_NAME_CHARACTERS = 100
# A file system's limit is 255; an answer's name is longer, and longest while it is being written.
MAX_NAME_BYTES = 200
# A request of such a name would replace a file that belongs to another team.
TAKEN = frozenset(
    key.to_python_identifier()
    for key in (keys.MANHATTAN_MAP, keys.MANHATTAN_STATS, keys.TRIPS_BY_WEEK)
)

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
    """The name of a request, after which its answer's files are named: `jan` for `jan.json`.

    Raises ValueError saying which names are accepted.
    """
    name = filename.removesuffix(SUFFIX)
    if name == filename:
        raise ValueError(f"expected a name that ends with {SUFFIX}")
    if not name or name.startswith("."):
        raise ValueError("expected a name that does not begin with a dot")
    if any(c in "/\\" or category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        raise ValueError("expected a name without slashes, backslashes and control characters")
    if len(name) > MAX_NAME_CHARACTERS or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"expected at most {MAX_NAME_CHARACTERS} characters, {MAX_NAME_BYTES} bytes in UTF-8"
        )
    if name.casefold() in TAKEN:
        raise ValueError("expected another name: the platform has a file of this one")
    return name


def error_name(filename: str) -> str:
    """The name for the report on a file: that of the request, or a safe one where it has none."""
    try:
        return request_name(filename)
    except ValueError:
        # A local name that is not UTF-8 comes with surrogates in place of its bytes.
        name_bytes = filename.encode("utf-8", "surrogatepass")
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", filename.removesuffix(SUFFIX))[:60]
        return f"{readable}-{blake2b(name_bytes, digest_size=4).hexdigest()}"


def _filename(value: str) -> str:
    request_name(value)
    return value


def _borough(value: str) -> str:
    if value not in BOROUGHS:
        raise ValueError(f"expected one of {', '.join(BOROUGHS)}")
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


class Request(BaseModel):
    """A request whose values are known to be acceptable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: Annotated[str, AfterValidator(_filename)] = Field(
        description="Name of the request's file, such as jan.json; the answer is jan.png and "
        "jan.csv. The file need not exist."
    )
    borough: Annotated[str, AfterValidator(_borough)] = Field(
        description=f"Borough of the pickups: {', '.join(BOROUGHS)}."
    )
    start_date: Annotated[str, AfterValidator(_iso_date)] = Field(
        description="First day of the pickups, such as 2023-01-10."
    )
    end_date: Annotated[str, AfterValidator(_iso_date)] = Field(
        description="The day after the last day of the pickups, such as 2023-01-25."
    )

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.start_date >= self.end_date:
            raise ValueError(
                f"start_date {self.start_date} is not before end_date {self.end_date}; expected "
                "an end_date after start_date: the day end_date itself is not counted"
            )
        return self

    @property
    def name(self) -> str:
        return request_name(self.filename)

    @property
    def dates(self) -> tuple[date, date]:
        """First day, and the day after the last."""
        return date.fromisoformat(self.start_date), date.fromisoformat(self.end_date)


FILE_FIELDS = tuple(field for field in Request.model_fields if field != "filename")


def check_size(filename: str, size: int) -> None:
    """Raises InvalidRequest for a file of so many bytes that it is not worth reading."""
    if size == 0:
        raise InvalidRequest(f"{shown_name(filename)} is empty; {_EXPECTED}")
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"{shown_name(filename)} has {size:,} bytes; expected at most {MAX_BYTES:,}"
        )


def read_request(filename: str, content: bytes) -> Request:
    """The request that a file holds.

    Raises InvalidRequest naming the file, the field and what is accepted.
    """
    shown = shown_name(filename)
    check_size(filename, len(content))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{shown} is not text in UTF-8; {_EXPECTED}") from None
    try:
        values = json.loads(text, object_pairs_hook=_no_field_twice)
    except InvalidRequest as error:
        raise InvalidRequest(f"{shown}: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{shown} is nested too deeply; {_EXPECTED}") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"{shown} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            f"{_EXPECTED}"
        ) from None
    except ValueError:  # a number of thousands of digits
        raise InvalidRequest(f"{shown} holds a number that is too long; {_EXPECTED}") from None
    if not isinstance(values, dict):
        raise InvalidRequest(f"{shown} holds {_kind(values)}; {_EXPECTED}")
    unknown = [field for field in values if field not in FILE_FIELDS]
    if unknown:
        raise InvalidRequest(f"{shown}: {_listed(map(_unknown_field, unknown))}")
    try:
        return Request.model_validate({"filename": filename, **values})
    except ValidationError as error:
        raise InvalidRequest(f"{shown}: {_listed(_problems(error))}") from None


_EXPECTED = f"expected a JSON object with the fields {', '.join(FILE_FIELDS)}"


def shown_name(filename: str) -> str:
    """A file's name as a message can show it: on one line, and not at length."""
    return _shown(filename) if not filename.isprintable() else _shortened(filename)


def _no_field_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field, value in pairs:
        if field in fields:
            raise InvalidRequest(f"field {_shown(field)} is there twice; expected it once")
        fields[field] = value
    return fields


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        match problem["type"], field:
            case "missing", _:
                yield f"field {field} is missing"
            case "value_error", "":
                yield str(problem["ctx"]["error"])
            case "value_error", _:
                yield f"{field} is {_shown(problem['input'])}; {problem['ctx']['error']}"
            case _:
                yield f"{field} is {_shown(problem['input'])}; expected text"


def _unknown_field(field: str) -> str:
    return f"field {_shown(field)} is not known; expected {', '.join(FILE_FIELDS)}"


def _listed(problems: Iterable[str]) -> str:
    each = list(problems)
    more = len(each) - _SHOWN_PROBLEMS
    return "; ".join(each[:_SHOWN_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")


def _shown(value: object) -> str:
    return repr(_shortened(value)) if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    return _JSON_KINDS.get(type(value), "text")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
