"""What an asset's page shows of a table: its first rows."""

from collections.abc import Iterable, Sequence

import dagster as dg

ROWS = 10
LETTERS = 60  # of a cell; the shape of a zone has thousands


def first_rows(
    columns: Iterable[str], rows: Sequence[Sequence[object]], total: int
) -> dg.MarkdownMetadataValue:
    """The first of these rows as a table, and how many there are in all."""
    lines = [_line(columns), _line("---" for _ in columns), *map(_line, rows[:ROWS])]
    more = f"\n\n{total:,} rows in all" if total > ROWS else ""
    return dg.MetadataValue.md("\n".join(lines) + more)


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    text = str(value).replace("|", "\\|")
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
