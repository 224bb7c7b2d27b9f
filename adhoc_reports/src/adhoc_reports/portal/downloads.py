"""The files of a report: its chart as PNG, and its numbers as CSV."""

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Response
from upath import UPath

from adhoc_reports.lib.request import stored_name
from adhoc_reports.portal.service import ReportNotFound, ReportService
from taxi_shared import storage

# The platform's own charts have some 60 KB.
MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class _Kind:
    suffix: str
    media_type: str
    disposition: str


KINDS = {
    "chart.png": _Kind("png", "image/png", "inline"),
    "numbers.csv": _Kind("csv", "text/csv; charset=utf-8", "attachment"),
}


async def download(service: ReportService, name: str, file: str) -> Response:
    """A file of a report, one of `KINDS`. Raises ReportNotFound."""
    kind = KINDS.get(file)
    if kind is None:
        raise ReportNotFound
    try:
        stored_name(f"{name}.json")
    except ValueError:
        raise ReportNotFound from None
    store = service.store
    path = store.chart_path(name) if kind.suffix == "png" else store.numbers_path(name)
    content = await service.run_on_storage(_read, path)
    if content is None:
        raise ReportNotFound
    filename = quote(f"{name}.{kind.suffix}", safe="")
    disposition = f"{kind.disposition}; filename*=UTF-8''{filename}"
    headers = {"content-disposition": disposition}
    return Response(content, media_type=kind.media_type, headers=headers)


def _read(path: UPath) -> bytes | None:
    try:
        return storage.read_bounded(path, MAX_FILE_BYTES)
    except (FileNotFoundError, storage.UnsafeFile):
        return None
