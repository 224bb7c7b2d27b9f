"""What an asset's page shows of a result: its first rows, or the picture."""

import base64

import dagster as dg

from analytics.lib.frames import DataFrame
from taxi_shared.preview import ROWS, first_rows


def table(frame: DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows of a frame, and how many there are."""
    rows = [
        ["" if value is None else value for value in row]
        for row in frame.head(ROWS).itertuples(index=False)
    ]
    return first_rows(list(frame.columns), rows, len(frame))


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, as part of the text."""
    return dg.MetadataValue.md(f"![map](data:image/png;base64,{base64.b64encode(png).decode()})")
