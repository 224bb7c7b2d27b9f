"""The documents that earlier releases wrote for a request, read as the outcome of today.

They had `outputs/<name>.report.json`, `.error.json` and `.failed.json`, the catalog
`outputs/available_data.json`, and a ledger of the request files that they had handled.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from adhoc_reports.lib.catalog import Catalog
from adhoc_reports.lib.outcome import (
    Coverage,
    Exclusion,
    Hours,
    LoadedMonth,
    Outcome,
    Report,
    Status,
    Weekdays,
    to_datetime,
)
from adhoc_reports.lib.pickups import count_weekdays
from adhoc_reports.lib.request import Request
from adhoc_reports.lib.request_files import Content, RequestFile

CATALOG = "available_data.json"
_RUN_KEY = re.compile(r".+ ([0-9a-f]{32}) [0-9a-f]*", re.DOTALL)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)

    run_key: str = ""


class OldError(_Document):
    """Why a file is no request that can be answered; `request` is the file's name."""

    request: str
    reason: str


class OldFailure(_Document):
    """Why a run failed; `request` is the file's name."""

    request: str
    reason: str
    details: str
    run_id: str


class _Basis(BaseModel):
    model_config = ConfigDict(frozen=True)

    months: tuple[LoadedMonth, ...]
    left_out: tuple[Exclusion, ...]


class OldReport(_Document):
    """The numbers that answer a request; the oldest say neither weekdays nor publishers."""

    request: Request
    made: datetime
    run_id: str
    by_hour: Hours
    remark: str
    basis: _Basis
    weekdays: Weekdays | None = None
    publishers: tuple[str, ...] = ()

    def to_report(self) -> Report:
        """The report in today's form."""
        months = [each.month for each in self.basis.months]
        return Report(
            generated=self.made,
            by_hour=self.by_hour,
            weekdays=self.weekdays or count_weekdays(self.request.dates, months),
            remark=self.remark,
            coverage=Coverage(months=self.basis.months, exclusions=self.basis.left_out),
            publishers=self.publishers,
        )


MODELS: Mapping[str, type[OldError | OldFailure | OldReport]] = {
    ".report.json": OldReport,
    ".error.json": OldError,
    ".failed.json": OldFailure,
}


@dataclass(frozen=True)
class OldDocument:
    """A document of an earlier release.

    name:    of the file
    written: in seconds since 1970
    """

    name: str
    written: float
    value: OldError | OldFailure | OldReport | Catalog

    @property
    def stem(self) -> str:
        """The name that the documents of one request share."""
        return self.name.removesuffix(suffix_of(self.name))

    @property
    def filename(self) -> str:
        """The name of the request's file; empty for the catalog."""
        if isinstance(self.value, Catalog):
            return ""
        request = self.value.request
        return request if isinstance(request, str) else request.filename


@dataclass(frozen=True)
class RequestNow:
    """The request file that documents are about, as it is now.

    ledger: what the ledger recorded of it: the hint of its listing, and the hash of its content or
            an empty text
    """

    file: RequestFile
    content: Content
    ledger: tuple[str, str] = ("", "")

    def hash_answered_by(self, document: OldDocument) -> str:
        """The hash of the content that a document answers: this one's, or empty if unknown."""
        run_key = getattr(document.value, "run_key", "")
        now = self.content.content_hash
        if found := _RUN_KEY.fullmatch(run_key):
            return found[1]
        hint, recorded = self.ledger
        is_handled = recorded == now if recorded else hint == self.file.hint
        is_same = run_key == f"{self.file.name} {self.file.hint}"
        return now if is_handled or is_same or document.written >= self.file.modified else ""


def suffix_of(filename: str) -> str:
    """The suffix by which a file may be an old document; empty where it cannot be one."""
    return next((suffix for suffix in MODELS if filename.endswith(suffix)), "")


def parse_document(filename: str, content: bytes, written: float) -> OldDocument | None:
    """The old document that a file is; None where it is none."""
    model = Catalog if filename == CATALOG else MODELS.get(suffix_of(filename))
    if model is None:
        return None
    try:
        return OldDocument(filename, written, model.model_validate_json(content))
    except ValidationError:
        return None


def parse_ledger(content: bytes) -> dict[str, tuple[str, str]]:
    """What the ledger recorded, by the name of the request's file: see `RequestNow`."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, tuple[str, str]] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        match value:
            case str(hint):
                found[name] = (hint, "")
            case [str(hint), str(content_hash), bool()]:
                found[name] = (hint, content_hash)
    return found


def to_outcome(documents: Iterable[OldDocument], now: RequestNow | None) -> Outcome | None:
    """The outcome that the documents of one request stand for; None where they stand for none.

    now: the request's file; None where it is gone
    """
    by_kind = {type(document.value): document for document in documents}
    report = by_kind.get(OldReport)
    current = _current(by_kind, now)
    if current is None:
        return None
    answer = report.value if report and isinstance(report.value, OldReport) else None
    asked = now.content.question if now else None
    content_hash = now.hash_answered_by(current) if now else _hash_in_run_key(current)
    outcome = Outcome(
        status=Status.DONE,
        filename=current.filename,
        content_hash=content_hash,
        request=asked,
        updated=to_datetime(current.written),
    )
    match current.value:
        case OldReport() as value:
            question, found = value.request.question, value.to_report()
            return outcome.model_copy(
                update={"request": question, "report": found, "run_id": value.run_id}
            )
        case OldError(reason=reason):
            return outcome.model_copy(update={"status": Status.REJECTED, "reason": reason})
        case OldFailure() as value:
            kept = answer.to_report() if answer and answer.request.question == asked else None
            failed = {"status": Status.FAILED, "report": kept, "run_id": value.run_id}
            texts = {"reason": value.reason, "details": value.details}
            return outcome.model_copy(update=failed | texts)
    return None


def _current(by_kind: Mapping[type, OldDocument], now: RequestNow | None) -> OldDocument | None:
    """The document that says how the request is now."""
    report, error, failure = map(by_kind.get, (OldReport, OldError, OldFailure))
    if now is None:
        found = [document for document in (report, error) if document]
        return max(found, key=lambda document: document.written, default=None)
    for document in (error, failure, report):
        if document and now.hash_answered_by(document) == now.content.content_hash:
            return document
    return report or failure or error


def _hash_in_run_key(document: OldDocument) -> str:
    found = _RUN_KEY.fullmatch(getattr(document.value, "run_key", ""))
    return found[1] if found else ""
