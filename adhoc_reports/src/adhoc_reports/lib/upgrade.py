"""The upgrade: reports of earlier releases become outcomes, so they are not generated again.

Those releases wrote `outputs/<name>.report.json`. Their records of failed and rejected requests are
removed: such a request was not answered, so it is treated as a new one.
"""

import re
from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ValidationError

from adhoc_reports.lib.outcome import (
    MAX_BYTES,
    OLD_SUFFIX,
    Coverage,
    Exclusion,
    Hours,
    LoadedMonth,
    Outcome,
    Report,
    Status,
    Weekdays,
)
from adhoc_reports.lib.pickups import count_weekdays
from adhoc_reports.lib.request import SUFFIX, Question, is_stored_name
from adhoc_reports.lib.store import ReportStore
from taxi_shared import storage

DOCUMENTS_PER_TICK = 200
_RUN_KEY = re.compile(r".+ ([0-9a-f]{32}) [0-9a-f]*", re.DOTALL)


class _OldRequest(Question):
    filename: str


class _OldBasis(BaseModel):
    months: tuple[LoadedMonth, ...]
    left_out: tuple[Exclusion, ...]


class _OldReport(BaseModel):
    """A report; the oldest have neither run key nor weekdays nor publishers."""

    request: _OldRequest
    made: datetime
    run_id: str
    run_key: str = ""
    by_hour: Hours
    remark: str
    basis: _OldBasis
    weekdays: Weekdays | None = None
    publishers: tuple[str, ...] = ()


class _OldProblem(BaseModel):
    """Why a request failed or was rejected."""

    request: str
    reason: str


def convert(store: ReportStore, filenames: Iterable[str]) -> int:
    """Convert the old documents among files of `outputs`; returns how many, a portion at most.

    Killed at any point, it can be repeated: a document is removed once its outcome is written.
    Other files stay. Raises what the storage raises.
    """
    converted = 0
    # The shortest first: the outcome of jan.report takes the place of the old report of jan.
    for filename in sorted(filenames, key=len):
        stem = OLD_SUFFIX.sub("", filename)
        if stem == filename or not is_stored_name(f"{stem}{SUFFIX}"):
            continue
        converted += _convert(store, stem, filename)
        if converted == DOCUMENTS_PER_TICK:
            break
    return converted


def _convert(store: ReportStore, stem: str, filename: str) -> bool:
    path = store.root.outputs / filename
    try:
        content = storage.read_bounded(path, MAX_BYTES)
        if filename == f"{stem}.report{SUFFIX}":
            _write_outcome(store, stem, _OldReport.model_validate_json(content))
        else:
            _OldProblem.model_validate_json(content)
    except (FileNotFoundError, storage.UnsafeFile, ValidationError):
        return False
    storage.remove(path)
    return True


def _write_outcome(store: ReportStore, name: str, old: _OldReport) -> None:
    newer = store.read_outcome(name)
    if newer and newer.updated >= old.made:
        return
    question = Question.model_validate(old.request.model_dump(exclude={"filename"}))
    months = [each.month for each in old.basis.months]
    report = Report(
        generated=old.made,
        by_hour=old.by_hour,
        weekdays=old.weekdays or count_weekdays(question.dates, months),
        remark=old.remark,
        coverage=Coverage(months=old.basis.months, exclusions=old.basis.left_out),
        publishers=old.publishers,
    )
    outcome = Outcome(
        status=Status.DONE,
        filename=f"{name}{SUFFIX}",
        content_hash=_answered_hash(store, name, old.run_key),
        request=question,
        updated=old.made,
        run_id=old.run_id,
        report=report,
    )
    store.write_outcome(name, outcome)


def _answered_hash(store: ReportStore, name: str, run_key: str) -> str:
    """The hash of the request file that a report answers; empty where the file was changed since.

    The oldest run keys have no hash: there the times of the two files decide.
    """
    if found := _RUN_KEY.fullmatch(run_key):
        return found[1]
    content = store.read_request(f"{name}{SUFFIX}")
    if content is None:
        return ""
    requested = (store.root.requests / f"{name}{SUFFIX}").stat().st_mtime
    answered = (store.root.outputs / f"{name}.report{SUFFIX}").stat().st_mtime
    return content.content_hash if answered >= requested else ""
