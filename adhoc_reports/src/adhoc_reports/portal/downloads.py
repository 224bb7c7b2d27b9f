"""The files of a report: chart and numbers as stored, and formats made from its outcome."""

from collections.abc import Callable
from io import BytesIO
from urllib.parse import quote

from fastapi import Response
from upath import UPath

from adhoc_reports.lib.export import to_tidy_csv
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Report
from adhoc_reports.lib.request import SUFFIX, Question, is_stored_name
from adhoc_reports.lib.words import in_words
from adhoc_reports.portal.service import ReportNotFound, ReportService
from taxi_shared import provenance, storage

# The platform's own charts have some 60 KB.
MAX_FILE_BYTES = 8 * 1024 * 1024
CSV = "text/csv; charset=utf-8"
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# By the name of the file in its address: suffix, media type, and how browsers take it.
STORED = {
    "chart.png": ("png", "image/png", "inline"),
    "numbers.csv": ("csv", CSV, "attachment"),
}


def _tidy_csv(question: Question, report: Report) -> bytes:
    return to_tidy_csv(question, report).encode()


def _svg(question: Question, report: Report) -> bytes:
    # Imported here: it is slow, and most portals never draw.
    from adhoc_reports.lib import chart

    return chart.to_svg(chart.draw(question, report))


def _workbook(question: Question, report: Report) -> bytes:
    """The numbers as a sheet, and a second sheet that says what they are."""
    from xlsxwriter import Workbook

    table, content = KINDS[question.kind].table(question, report), BytesIO()
    # Texts stay texts: a name that begins with = is no formula.
    with Workbook(
        content, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        bold, numbers = book.add_format({"bold": True}), book.add_worksheet("Numbers")
        numbers.write_row(0, 0, table.headings, bold)
        for place, row in enumerate(table.rows, start=1):
            numbers.write_row(place, 0, row)
        numbers.freeze_panes(1, 0)
        numbers.autofit()
        about = book.add_worksheet("About")
        facts = [
            ("Report", question.heading),
            ("Days", question.days),
            ("Shown", KINDS[question.kind].shown(question, report)),
            ("Hours and days", "Wall-clock time of the pickup, in New York"),
            ("Source", provenance.source_line(report.publishers).removeprefix("Source: ")),
            ("Computed", f"{in_words(report.generated)}, {report.generated:%H:%M} UTC"),
            ("Note", report.remark),
            *(
                ("Left out", f"{each.trips:,}: {each.reason}")
                for each in report.coverage.exclusions
            ),
        ]
        for place, fact in enumerate(facts):
            about.write_row(place, 0, fact)
        about.autofit()
    return content.getvalue()


Make = Callable[[Question, Report], bytes]
MADE: dict[str, tuple[str, str, Make]] = {
    "data.csv": ("tidy.csv", CSV, _tidy_csv),
    "data.xlsx": ("xlsx", EXCEL, _workbook),
    "chart.svg": ("svg", "image/svg+xml", _svg),
}
"""Suffix, media type and function of the files that are made when they are asked for."""


async def download(service: ReportService, name: str, file: str) -> Response:
    """A file of a report, one of `STORED` or `MADE`. Raises ReportNotFound."""
    if not is_stored_name(f"{name}{SUFFIX}"):
        raise ReportNotFound
    if file in STORED:
        suffix, media_type, disposition = STORED[file]
        path = service.store.root.outputs / f"{name}.{suffix}"
        content = await service.run_on_storage(_read, path)
    elif file in MADE:
        (suffix, media_type, make), disposition = MADE[file], "attachment"
        outcome = await service.run_on_storage(service.store.read_outcome, name)
        content = None
        if outcome and outcome.request and outcome.report:
            content = await service.compute(make, outcome.request, outcome.report)
    else:
        raise ReportNotFound
    if content is None:
        raise ReportNotFound
    filename = quote(f"{name}.{suffix}", safe="")
    headers = {"content-disposition": f"{disposition}; filename*=UTF-8''{filename}"}
    return Response(content, media_type=media_type, headers=headers)


def _read(path: UPath) -> bytes | None:
    try:
        return storage.read_bounded(path, MAX_FILE_BYTES)
    except (FileNotFoundError, storage.UnsafeFile):
        return None
