"""A portal over a folder or bucket of the test's own."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from adhoc_reports.lib.catalog import Catalog, write_catalog, write_intake_status
from adhoc_reports.lib.outcome import (
    Coverage,
    Exclusion,
    LoadedMonth,
    Outcome,
    Report,
    Status,
    utc_now,
)
from adhoc_reports.lib.pickups import count_weekdays
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.request_files import hash_content
from adhoc_reports.lib.store import ReportStore
from adhoc_reports.portal.app import Options, create_app
from taxi_shared import storage
from taxi_shared.storage import DataRoot

LOADED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
GENERATED = datetime(2026, 2, 1, tzinfo=UTC)
CATALOG = Catalog(
    months=tuple(
        LoadedMonth(month=date(2023, month, 1), loaded=LOADED, trips=1000) for month in (1, 2, 3)
    ),
    zones={"Manhattan": ("Midtown", "Soho"), "Queens": ("JFK Airport", "<b>&'\"")},
)
BY_HOUR = tuple(tuple(1000 * hour + day for day in range(7)) for hour in range(24))
QUESTION = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}
FORM = {"area": "Manhattan", "first_day": "2023-01-10", "last_day": "2023-01-24"}
NAME = "manhattan_2023-01-10_2023-01-24"
"""Of the report of FORM without a name."""


@dataclass
class Portal:
    """The portal and its files; whatever a method changes is seen at once."""

    app: FastAPI
    client: TestClient
    root: DataRoot

    @property
    def store(self) -> ReportStore:
        return ReportStore(self.root)

    def refresh(self) -> None:
        """Let the portal scan its files before it answers."""
        self.app.state.service.refresh()

    def put(self, name: str, content: str | dict[str, str] | None = None) -> None:
        """Write a request file: a valid one, unless it is given."""
        if not isinstance(content, str):
            content = json.dumps(content or QUESTION)
        storage.write_text(self.root.requests / f"{name}.json", content)
        self.refresh()

    def offer(self, **changes: Any) -> None:
        """Replace the catalog by CATALOG with changes."""
        write_catalog(self.root, CATALOG.model_copy(update=changes))
        self.refresh()

    def settle(self, name: str, status: Status, **changes: Any) -> Outcome:
        """Write an outcome of the request's file as it is now, or of one that was removed."""
        path = self.root.requests / f"{name}.json"
        content = path.read_bytes() if path.exists() else json.dumps(QUESTION).encode()
        outcome = Outcome(
            status=status,
            filename=f"{name}.json",
            content_hash=hash_content(content),
            request=Question.model_validate_json(content),
            updated=utc_now(),
            run_id="" if status is Status.REJECTED else "the-run",
        ).model_copy(update=changes)
        self.store.write_outcome(name, outcome)
        self.refresh()
        return outcome

    def fail(self, name: str, **changes: Any) -> Outcome:
        """Let a request fail."""
        values = {"reason": "The disk is full.", "details": "OSError: [Errno 28]", **changes}
        return self.settle(name, Status.FAILED, **values)

    def answer(self, name: str, question: dict[str, str] | None = None, **changes: Any) -> Report:
        """Write a report, of the request's file if there is one, and its chart and numbers."""
        path = self.root.requests / f"{name}.json"
        asked = json.loads(path.read_text()) if path.exists() else question or QUESTION
        request = Question.model_validate(asked)
        report = Report(
            generated=GENERATED,
            by_hour=BY_HOUR,
            weekdays=count_weekdays(request.dates, [date(2023, 1, 1)]),
            remark="",
            coverage=Coverage(
                months=(LoadedMonth(month=date(2023, 1, 1), loaded=LOADED, trips=1234567),),
                exclusions=(Exclusion(reason="Picked up elsewhere.", trips=7654321),),
            ),
        ).model_copy(update=changes)
        storage.write_text(self.store.numbers_path(name), report.pickups.to_csv())
        storage.write_bytes(self.store.chart_path(name), b"\x89PNG")
        self.settle(name, Status.DONE, request=request, report=report)
        return report

    def requests(self) -> dict[str, Any]:
        """The request files, by name without suffix."""
        return {
            path.name.removesuffix(".json"): json.loads(path.read_text())
            for path in self.root.requests.iterdir()
        }

    def content(self, name: str) -> bytes:
        """The content of a request file."""
        return (self.root.requests / f"{name}.json").read_bytes()

    def state(self, name: str) -> str:
        """The state of a request."""
        return str(self.client.get(f"/api/reports/{name}").json()["state"])

    def states(self) -> dict[str, str]:
        """The state of every request, by name."""
        self.refresh()
        reports = self.client.get("/api/reports").json()["reports"]
        return {report["name"]: report["state"] for report in reports}


def new_portal(root: DataRoot, options: Options | None = None, address: str = "") -> Portal:
    """The portal over a data root, with data of January to March 2023."""
    write_catalog(root, CATALOG)
    write_intake_status(root)
    options = options or Options(hosts=["testserver", "localhost"], dagster_url="https://public")
    app = create_app(root, options)
    base_url = address or "http://testserver"
    return Portal(app, TestClient(app, base_url=base_url, follow_redirects=False), root)


def text(page: Response) -> str:
    """The text of a page, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


@contextmanager
def portal_at(
    root: DataRoot, options: Options | None = None, address: str = ""
) -> Iterator[Portal]:
    """The same, started, and stopped afterwards."""
    portal = new_portal(root, options, address)
    with portal.client:
        yield portal
