"""The record of a failed run: a reason in plain words, and the text of the error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from adhoc_reports.lib import outputs
from adhoc_reports.lib.request import Request
from taxi_shared import storage
from taxi_shared.storage import DataRoot

MAX_DETAILS_CHARACTERS = 4_000

CANCELLED = "The run was cancelled. Try again."
UNEXPECTED = "Unexpected error. Try again; if it fails again, contact the platform's operators."
# Words of an error's type or text, in lower case, and the reason to show. The first match counts.
_REASONS = (
    (("interrupted", "systemexit"), CANCELLED),
    (
        ("outofmemory", "out of memory", "memoryerror"),
        "There was not enough memory. Choose fewer days, or try again later.",
    ),
    (
        ("no space left",),
        "The disk is full. Try again when the platform's operators have freed space.",
    ),
    (
        ("parquet", "magic bytes", "thrift", "snappy", "zstd"),
        "A file of the trips is damaged. Try again when the data team has reloaded it.",
    ),
    (
        ("catalogexception", "binderexception", "catalog error", "binder error"),
        "The data lacks a column or table that reports need. Try again when the data team has "
        "reloaded it.",
    ),
    (
        ("s3error", "timeout", "timed out", "connection", "httpexception", "http error"),
        "The storage did not answer. Try again in a moment.",
    ),
    (
        ("permission", "no such file", "filenotfound"),
        "A data file is missing or cannot be read. Try again later.",
    ),
    (
        ("exited", "terminated", "crash", "worker", "unexpectedly"),
        "The process that generated the report crashed. Try again.",
    ),
)


def in_plain_words(errors: Sequence[str]) -> str:
    """The reason that errors stand for, given their types and texts, the outermost first."""
    text = "\n".join(errors).lower()
    return next(
        (reason for words, reason in _REASONS if any(word in text for word in words)),
        UNEXPECTED,
    )


class Failure(BaseModel):
    """Why a run has failed.

    run_key: of the version of the request's file; empty where the run was of none
    """

    model_config = ConfigDict(frozen=True)

    request: str
    reason: str
    details: str
    run_key: str
    run_id: str


@contextmanager
def record_failure(root: DataRoot, request: Request, run_key: str, run_id: str) -> Iterator[None]:
    """Write `outputs/<name>.failed.json` where the block fails; remove it where it succeeds.

    Operators delete old runs from Dagster, and the portal must know of a failure longer.
    """
    try:
        yield
    except BaseException as error:  # a cancelled run raises no Exception
        texts = [f"{type(each).__name__}: {each}" for each in _chain(error)]
        failure = Failure(
            request=request.filename,
            reason=in_plain_words(texts),
            details=texts[-1][:MAX_DETAILS_CHARACTERS],
            run_key=run_key,
            run_id=run_id,
        )
        try:
            storage.write_text(
                outputs.failure_path(root, request.name), failure.model_dump_json() + "\n"
            )
        except Exception as second:
            error.add_note(f"The failure could not be recorded for the portal: {second}")
        raise
    storage.remove(outputs.failure_path(root, request.name))


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
