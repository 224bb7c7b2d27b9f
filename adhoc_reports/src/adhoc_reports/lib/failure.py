"""Why a run failed: a reason in plain words for each kind of error."""

from collections.abc import Iterator, Sequence

CANCELLED = "The run was cancelled. Try again."
UNEXPECTED = "Unexpected error. Try again; if it fails again, contact the platform's operators."
# Words of an error's type or text, in lower case, and the reason to show. The first match counts.
_REASONS = (
    (("interrupt", "systemexit"), CANCELLED),
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
        ("run timed out", "exceeded maximum runtime"),
        "The report took too long. Choose fewer days.",
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
        (
            "exited",
            "terminated",
            "crash",
            "worker",
            "unexpectedly",
            "outside the execution context",
        ),
        "The process that generated the report crashed. Try again.",
    ),
)


def explain_error(errors: Sequence[str]) -> str:
    """The reason that errors stand for, given their types and texts, the outermost first."""
    text = "\n".join(errors).lower()
    return next(
        (reason for words, reason in _REASONS if any(word in text for word in words)),
        UNEXPECTED,
    )


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then the ones that caused it."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
