"""A preview of a table for an asset's page: its first rows."""

from collections.abc import Iterable, Sequence

import dagster as dg

ROWS = 10
MAX_CELL_LENGTH = 60  # the shape of a zone has thousands of characters


def first_rows(
    columns: Iterable[str], rows: Sequence[Sequence[object]], total: int
) -> dg.MarkdownMetadataValue:
    """Return the first rows as a Markdown table, with the total number of rows."""
    lines = [_line(columns), _line("---" for _ in columns), *map(_line, rows[:ROWS])]
    more = f"\n\n{total:,} rows in all" if total > ROWS else ""
    return dg.MetadataValue.md("\n".join(lines) + more)


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    text = str(value).replace("|", "\\|")
    return text if len(text) <= MAX_CELL_LENGTH else f"{text[:MAX_CELL_LENGTH]}…"
