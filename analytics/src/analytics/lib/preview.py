"""What an asset's page shows of a result: its first rows, or the picture."""

import base64
from collections.abc import Iterable

import dagster as dg

from analytics.lib.frames import DataFrame

ROWS = 10


def table(frame: DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows of a frame, and how many there are."""
    lines = [
        _line(frame.columns),
        _line("---" for _ in frame.columns),
        *(_line(row) for row in frame.head(ROWS).itertuples(index=False)),
    ]
    more = f"\n\n{len(frame):,} rows in all" if len(frame) > ROWS else ""
    return dg.MetadataValue.md("\n".join(lines) + more)


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, as part of the text."""
    return dg.MetadataValue.md(f"![map](data:image/png;base64,{base64.b64encode(png).decode()})")


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
