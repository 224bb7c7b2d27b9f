"""The numbers of a report as CSV, as a workbook of Excel, and as a table in Markdown."""

import csv
from datetime import date
from io import StringIO

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Cell, Report, Table
from adhoc_reports.lib.request import DEFAULT_KIND, DEFAULT_MEASURE, Question
from adhoc_reports.lib.words import in_words, month_in_words

# Columns of dates, as `2023-01-10`.
_DAYS = {
    **dict.fromkeys(("day", "week", "first_day", "last_day"), in_words),
    "month": month_in_words,
}
MARKDOWN_ROWS = 200
"""Of the preview that Dagster keeps with the events of a run."""


def to_csv(question: Question, report: Report) -> str:
    """The numbers that are kept beside the chart.

    Totals of trips by hour and weekday have a column for each weekday, as they always had; all
    others are as `to_tidy_csv`.
    """
    return report.pickups.to_csv() if has_totals(question) else to_tidy_csv(question, report)


def to_tidy_csv(question: Question, report: Report) -> str:
    """A header, and a row for each observation."""
    table, text = KINDS[question.kind].table(question, report), StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


def to_markdown(question: Question, report: Report) -> str:
    """The numbers as a table for people, the first rows of it."""
    if has_totals(question):
        return report.pickups.to_markdown()
    table = KINDS[question.kind].table(question, report)
    header = f"| {' | '.join(table.headings)} |\n|{' --- |' * len(table.headings)}"
    rows = [f"| {' | '.join(row)} |" for row in as_text(table)[:MARKDOWN_ROWS]]
    return "\n".join((header, *rows))


def as_text(table: Table) -> list[list[str]]:
    """The rows of a table for people: days in words, numbers with commas and two decimals."""
    return [
        [_as_text(cell, name) for cell, name in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]


def _as_text(cell: Cell, column: str) -> str:
    if cell is None:
        return "–"
    if column in _DAYS:
        return _DAYS[column](date.fromisoformat(str(cell)))
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    is_name = column.endswith("zone_id") or isinstance(cell, str)
    return str(cell) if is_name else f"{cell:,}"


def has_totals(question: Question) -> bool:
    """Whether the kept numbers are totals, a row for each hour and a column for each weekday."""
    return (question.kind, question.measure) == (DEFAULT_KIND, DEFAULT_MEASURE)
