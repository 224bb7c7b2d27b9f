"""The files of a report: its chart as PNG, and its numbers as CSV."""

from urllib.parse import quote

from fastapi import Response
from upath import UPath

from adhoc_reports.lib.request import SUFFIX, is_stored_name
from adhoc_reports.portal.service import ReportNotFound, ReportService
from taxi_shared import storage

# The platform's own charts have some 60 KB.
MAX_FILE_BYTES = 8 * 1024 * 1024


# By the name of the file in its address: suffix, media type, and how browsers take it.
KINDS = {
    "chart.png": ("png", "image/png", "inline"),
    "numbers.csv": ("csv", "text/csv; charset=utf-8", "attachment"),
}


async def download(service: ReportService, name: str, file: str) -> Response:
    """A file of a report, one of `KINDS`. Raises ReportNotFound."""
    if file not in KINDS or not is_stored_name(f"{name}{SUFFIX}"):
        raise ReportNotFound
    suffix, media_type, disposition = KINDS[file]
    path = service.store.root.outputs / f"{name}.{suffix}"
    content = await service.run_on_storage(_read, path)
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
