"""What is told of a request whose run has failed: a plain sentence, and the words of the error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from adhoc_reports.lib import outputs
from adhoc_reports.lib.request import Request
from taxi_shared import storage
from taxi_shared.storage import DataRoot

MAX_DETAILS_CHARACTERS = 4_000

ENDED = "Somebody ended the run before it was done. Try again."
UNFORESEEN = (
    "Something went wrong that nobody has foreseen. Try again; if it fails again, tell those who "
    "run the platform."
)
# A word of an error's kind or text, in lower case, and what it means to whoever asked. The first
# that fits counts.
_MEANINGS = (
    (("interrupted", "systemexit"), ENDED),
    (
        ("outofmemory", "out of memory", "memoryerror"),
        "There was not enough memory. Ask for fewer days, or try again later.",
    ),
    (
        ("no space left",),
        "The disk is full. Try again when those who run the platform have made room.",
    ),
    (
        ("parquet", "magic bytes", "thrift", "snappy", "zstd"),
        "A file of the trips is damaged. Try again when the data team has loaded it anew.",
    ),
    (
        ("catalogexception", "binderexception", "catalog error", "binder error"),
        "The data lack something that a report needs. Try again when the data team has loaded "
        "them anew.",
    ),
    (
        ("s3error", "timeout", "timed out", "connection", "httpexception", "http error"),
        "The storage did not answer. Try again in a moment.",
    ),
    (
        ("permission", "no such file", "filenotfound"),
        "A file of the data is not there or may not be read. Try again later.",
    ),
    (
        ("exited", "terminated", "crash", "worker", "unexpectedly"),
        "The program that makes reports ended in the middle of this one. Try again.",
    ),
)


def in_plain_words(errors: Sequence[str]) -> str:
    """What errors mean, given their kinds and texts from the outermost to the cause."""
    said = "\n".join(errors).lower()
    return next(
        (meaning for words, meaning in _MEANINGS if any(word in said for word in words)),
        UNFORESEEN,
    )


class Failure(BaseModel):
    """Why a run has failed; `run_key` is that of the version of the request's file, or empty."""

    model_config = ConfigDict(frozen=True)

    request: str
    reason: str
    details: str
    run_key: str
    run_id: str


@contextmanager
def told_if_it_fails(root: DataRoot, request: Request, run_key: str, run_id: str) -> Iterator[None]:
    """Leave `outputs/<name>.failed.json` where the block fails, and remove it where it does not.

    Runs are deleted some day, and a failure must be known longer.
    """
    try:
        yield
    except BaseException as error:  # that a run is ended from outside is no Exception
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
            error.add_note(f"This could not be told to whoever waits: {second}")
        raise
    outputs.failure_path(root, request.name).unlink(missing_ok=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
