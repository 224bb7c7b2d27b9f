"""The targets, and what the measurements say to each."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.readings import loading, waiting
from bench.readings.row import Measured, Row


def rows(measured: Measured, *, full: bool, standard: bool) -> Iterator[Row]:
    """A row for each target that has been measured; without a verdict where the run is too small.

    `full` is whether there were 36 months, `standard` whether they had their usual size.
    """
    for name, row_of in ROWS:
        if name in measured:
            for row in row_of(measured):
                applies = standard and (full or row.what.startswith(ALSO_QUICK))
                yield row if applies else replace(row, met=None)


ROWS: tuple[tuple[str, Callable[[Measured], Iterator[Row]]], ...] = (
    ("ingest", loading.ingest),
    ("usual", loading.usual),
    ("requests", waiting.requests),
    ("portal", waiting.portal),
    ("lake", waiting.lake),
    ("weeks", waiting.weeks),
    ("growth_months", loading.memory),
    ("points", loading.points),
    ("dev", waiting.dev),
    ("imports", waiting.imports),
)
# Rows whose targets a quick run answers as well as a full one.
ALSO_QUICK = (
    "Usual",
    "Report portal",
    "Request file",
    "50 requests",
    "`make dev`",
    "Import of",
    "Size of",
)
