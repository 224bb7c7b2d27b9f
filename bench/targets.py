"""The targets, and the measured values for each."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.rows import loading, outside, waiting
from bench.rows.row import Measured, Row


def rows(measured: Measured, *, full: bool, standard: bool) -> Iterator[Row]:
    """The rows of all measurements; without a verdict if the run is too small for the target.

    full:     whether there were 36 months
    standard: whether the months had the standard number of rows
    """
    for name, row_of in ROWS:
        if name in measured:
            for row in row_of(measured):
                applies = standard and (full or row.measure.startswith(ALSO_QUICK))
                yield row if applies else replace(row, met=None)


ROWS: tuple[tuple[str, Callable[[Measured], Iterator[Row]]], ...] = (
    ("ingest", loading.ingest),
    ("ingest_large", loading.large_months),
    ("backfill", loading.backfill),
    ("usual", loading.usual),
    ("requests", waiting.requests),
    ("flood", waiting.flood),
    ("click", waiting.click),
    ("portal", waiting.portal),
    ("lake", waiting.lake),
    ("weeks", waiting.weeks),
    ("history", waiting.history),
    ("engines", outside.engines),
    ("growth_months", loading.memory),
    ("points", loading.points),
    ("dev", waiting.dev),
    ("imports", waiting.imports),
)
# Rows whose targets a quick run can answer.
ALSO_QUICK = (
    "Usual",
    "Report portal",
    "Request file",
    "50 requests",
    "2,000 requests",
    "Memory of the three",
    "`make dev`",
    "Import of",
    "Size of",
)
