"""A portal of the test's own: over a folder, and a Dagster that answers as the test says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.available import Available, LoadedMonth
from adhoc_reports.lib.pickups import count_weekdays
from adhoc_reports.lib.report import Basis, LeftOut, Month, Report
from adhoc_reports.lib.request import Question, Request
from adhoc_reports.portal.app import create_app
from adhoc_reports.portal.guard import RateLimit
from adhoc_reports.portal.runs import Dagster
from taxi_shared import storage
from taxi_shared.storage import DataRoot

LOADED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
AVAILABLE = Available(
    months=tuple(
        LoadedMonth(month=date(2023, month, 1), loaded=LOADED, trips=1000) for month in (1, 2, 3)
    ),
    zones={"Manhattan": ("Midtown", "Soho"), "Queens": ("JFK Airport", "<b>&'\"")},
)
BY_HOUR = tuple(tuple(1000 * hour + day for day in range(7)) for hour in range(24))


@dataclass
class FakeDagster:
    """Answers GraphQL: runs by run key, and what is the matter."""

    away: bool = False
    loaded: bool = True
    sensor: str = "RUNNING"
    ticks: tuple[str, ...] = ("STARTED", "SKIPPED")
    daemon: bool = True
    queue: bool = True
    asked: int = 0
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str = ""

    def add(
        self,
        run_key: str,
        status: str,
        ended: float | None = None,
        location: str = "adhoc_reports",
    ) -> str:
        run_id = f"run-{len(self.runs)}"
        tags = [
            {"key": "dagster/code_location", "value": location},
            {"key": "dagster/run_key", "value": run_key},
        ]
        self.runs[run_id] = {"runId": run_id, "status": status, "endTime": ended, "tags": tags}
        return run_id

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.away:
            raise httpx2.ConnectError("refused")
        asked = json.loads(request.content)
        variables = asked["variables"]
        if "logsForRun" in asked["query"]:
            cause = {"className": "OSError", "message": self.error}
            event = {"error": {"className": "X", "message": "wrapped", "causes": [cause]}}
            return _data(logsForRun={"events": [event]})

        def is_asked_for(run: dict[str, Any]) -> bool:
            in_status = run["status"] in variables.get("statuses", [run["status"]])
            return in_status and all(tag in run["tags"] for tag in variables["tags"])

        runs = {"results": [run for run in reversed(self.runs.values()) if is_asked_for(run)]}
        if "statuses" not in variables:
            return _data(runsOrError=runs)
        return _data(
            runsOrError=runs,
            sensorOrError={
                "__typename": "Sensor",
                "sensorState": {
                    "status": self.sensor,
                    "ticks": [{"status": status} for status in self.ticks],
                },
            }
            if self.loaded
            else {"__typename": "SensorNotFoundError"},
            instance={
                "daemonHealth": {
                    "allDaemonStatuses": [
                        {"daemonType": "SENSOR", "required": True, "healthy": self.daemon},
                        {
                            "daemonType": "QUEUED_RUN_COORDINATOR",
                            "required": True,
                            "healthy": self.queue,
                        },
                        {"daemonType": "BACKFILL", "required": False, "healthy": False},
                    ]
                }
            },
        )


def _data(**data: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"data": data})


@dataclass
class Portal:
    """The portal, and what it looks at."""

    app: FastAPI
    client: TestClient
    root: DataRoot
    dagster: FakeDagster

    def put(self, name: str, content: str) -> None:
        storage.write_text(self.root.requests / f"{name}.json", content)

    def answer(self, name: str, **changes: Any) -> Report:
        """Put a report where a run would put it: of the request's file where that is there."""
        path = self.root.requests / f"{name}.json"
        asked = {field: changes[field] for field in Question.model_fields if field in changes}
        values = json.loads(path.read_text()) if path.exists() else {**QUESTION, **asked}
        period = Question.model_validate(values).dates
        report = Report(
            request=Request(filename=f"{name}.json", **values),
            made=changes.get("made", datetime(2026, 2, 1, tzinfo=UTC)),
            run_id="the-run",
            run_key=changes.get("run_key", self.run_key(name) if path.exists() else ""),
            by_hour=changes.get("by_hour", BY_HOUR),
            weekdays=changes.get("weekdays", count_weekdays(period, [date(2023, 1, 1)])),
            publishers=changes.get("publishers", ()),
            remark="",
            basis=Basis(
                months=(Month(month=date(2023, 1, 1), loaded=LOADED, trips=1234567),),
                left_out=(LeftOut(reason="Picked up elsewhere.", trips=7654321),),
            ),
        )
        storage.write_text(outputs.numbers_path(self.root, name), report.pickups.to_csv())
        storage.write_bytes(outputs.chart_path(self.root, name), b"\x89PNG")
        storage.write_text(outputs.report_path(self.root, name), report.model_dump_json())
        return report

    def run_key(self, name: str) -> str:
        (file,) = (
            file
            for file in intake.list_requests(self.root.requests) or []
            if file.name == f"{name}.json"
        )
        (outcome,) = intake.read(self.root.requests, [file])
        return outcome.file.run_key

    def requests(self) -> dict[str, Any]:
        """The request files, by name without suffix."""
        return {
            path.name.removesuffix(".json"): json.loads(path.read_text())
            for path in self.root.requests.iterdir()
        }


QUESTION = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}
FORM = {"area": "Manhattan", "first_day": "2023-01-10", "last_day": "2023-01-24"}


def new_portal(root: DataRoot, write_limit: RateLimit | None = None) -> Portal:
    """The portal over a data root, with data of January to March 2023."""
    dagster = FakeDagster()
    available.tell(root, AVAILABLE)
    app = create_app(
        root,
        Dagster("http://dagster", "https://public", httpx2.MockTransport(dagster.answer)),
        hosts=["testserver", "localhost"],
        write_limit=write_limit,
    )
    return Portal(app, TestClient(app, follow_redirects=False), root, dagster)


@contextmanager
def portal_at(root: DataRoot, write_limit: RateLimit | None = None) -> Iterator[Portal]:
    """The same, started, and stopped afterwards."""
    portal = new_portal(root, write_limit)
    with portal.client:
        yield portal
