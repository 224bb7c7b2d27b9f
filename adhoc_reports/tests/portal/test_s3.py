"""The portal over a data root on a real S3 server, from a request to its report."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from adhoc_reports.lib import request_files
from adhoc_reports.lib.request_files import RequestFile
from taxi_shared import storage
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot

from ..conftest import Intake, write_trips, write_zones
from .support import FORM, NAME, QUESTION, portal_at


def test_request_on_s3_is_answered_and_shown(
    s3_root: str,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = DataRoot.at(s3_root)
    fill_lake(root, tmp_path)
    intake = Intake(root, instance)
    monkeypatch.setattr("adhoc_reports.portal.service.STORAGE_TIMEOUT_SECONDS", 60)
    with portal_at(root) as portal:

        def send(_: int) -> str:
            return str(portal.client.post("/", data=FORM).headers["location"])

        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(send, range(8))) == {f"/reports/{NAME}"}
        assert portal.requests() == {NAME: QUESTION}
        assert portal.state(NAME) == "received"
        assert intake.answer() == [NAME]
        portal.refresh()
        found = portal.client.get(f"/api/reports/{NAME}").json()
        assert (found["state"], found["trips"]) == ("done", 1)
        assert found["result"]["by_hour"][8][2] == 1
        assert portal.client.get(found["chart"]).content.startswith(b"\x89PNG")
        assert portal.client.get(found["numbers"]).text.startswith("hour_of_day")
        assert send(0) == f"/reports/{NAME}"


def test_slow_listing_on_s3_shows_the_last_state(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open, list_requests = threading.Event(), request_files.list_requests
    is_open.set()

    def list_slowly(folder: UPath) -> list[RequestFile] | None:
        is_open.wait(30)
        return list_requests(folder)

    monkeypatch.setattr(request_files, "list_requests", list_slowly)
    with portal_at(DataRoot.at(s3_root)) as portal:
        portal.put("jan")
        assert portal.state("jan") == "received"
        is_open.clear()
        portal.refresh()
        page = portal.client.get("/reports").text
        is_open.set()
    assert "The storage is not responding. This page shows its last known state." in page
    assert 'href="/reports/jan"' in page


def fill_lake(root: DataRoot, folder: Path) -> None:
    """Put a lake with two trips into a data root, by way of a folder."""
    lake = Lake(DataRoot.at(str(folder)))
    write_zones(lake)
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 8)), (7, None)])
    for file in (path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        storage.write_bytes(root.base / file.relative_to(folder).as_posix(), content)
