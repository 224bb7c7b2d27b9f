"""The report portal with 10,000 reports: how long its pages take."""

import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bench.processes import start, stopping
from bench.runs import BenchError, wait_until
from bench.scale import Bench, empty_folder
from taxi_platform.instance import free_port
from taxi_platform.workspace import locations

REPORTS = 10_000
REPEATS = 40
CLIENTS = 4
START_SECONDS = 60
# Between two requests, so that some of them meet the scan of the files once per second.
PAUSE_SECONDS = 0.05
# 200 characters of words that nearly every report contains: the slowest search.
_TEXT = "report_0.json zone, manhattan 2023-01-10 2023-01-"
LONGEST_SEARCH = "+".join(
    dict.fromkeys(
        pair
        for size in (2, 1, 3)
        for start in range(len(_TEXT) - 1)
        if " " not in (pair := _TEXT[start : start + size]) and pair not in ("0.", "_0")
    )
)[:200]
PAGES = {
    "/": "/",
    "/reports": "/reports",
    "/reports?q=<the longest>": f"/reports?q={LONGEST_SEARCH}",
    "/reports?page=400": "/reports?page=400",
    "/api/reports?limit=1000": "/api/reports?limit=1000",
    "/api/reports?q=<the longest>": f"/api/reports?limit=1000&q={LONGEST_SEARCH}",
    "/reports/<name>": "/reports/report_05001",
}


def measure_pages(bench: Bench) -> dict[str, Any]:
    """Time each page alone, then `/healthz` while four clients load pages; in milliseconds."""
    data = empty_folder(bench.work / "portal")
    _write_reports(data)
    with serve_portal(data) as port:
        # The first scan reads every file, which may take longer than a page waits.
        wait_until("the first scan", START_SECONDS, lambda: _answers(port, "/reports"))
        alone = {}
        for name, path in PAGES.items():
            with _health(port) as health:
                alone[name] = [_milliseconds(port, path) for _ in range(REPEATS)]
            bench.log(f"{name}: {_p95(alone[name])} ms p95; /healthz {_p95(health)} ms p95")
        with _health(port) as health, ThreadPoolExecutor(CLIENTS) as clients:
            for name in [*PAGES] * 10:
                clients.submit(_milliseconds, port, PAGES[name], 0)
        bench.log(
            f"/healthz while {CLIENTS} clients load pages: {_p95(health)} ms p95, {max(health)} max"
        )
    shutil.rmtree(data)
    return {"reports": REPORTS, "clients": CLIENTS, "pages": alone, "health": health}


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _milliseconds(port: int, path: str, pause: float = PAUSE_SECONDS) -> float:
    time.sleep(pause)
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise BenchError(f"{path}: {answer.status}")
    return round(1000 * (time.perf_counter() - begin), 1)


def _answers(port: int, path: str) -> bool:
    try:
        return _milliseconds(port, path) > 0
    except (OSError, BenchError):
        return False


@contextmanager
def _health(port: int) -> Iterator[list[float]]:
    """Time `/healthz` while the block runs; yields the list of milliseconds."""
    values: list[float] = []
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            values.append(_milliseconds(port, "/healthz"))

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        yield values
    finally:
        over.set()
        poller.join()


@contextmanager
def serve_portal(data: Path) -> Iterator[int]:
    """Run the portal on a data root, without Dagster; yields its port."""
    (reporting,) = (each for each in locations() if each.name == "adhoc_reports")
    port = free_port()
    process = start(
        [str(reporting.python), "-m", "adhoc_reports.portal", "--port", str(port)],
        env={"TAXI_DATA_ROOT": str(data)},
    )

    with stopping(process):
        wait_until("the start of the portal", START_SECONDS, lambda: _answers(port, "/healthz"))
        yield port


def _write_reports(data: Path) -> None:
    """Write requests, of which nine in ten have a report and the others are pending."""
    (data / "requests").mkdir()
    (data / "outputs" / "catalog").mkdir(parents=True)
    month = {"month": "2023-01-01", "loaded": "2026-01-02T03:04:05Z", "trips": 3_000_000}
    zones = {"Manhattan": [f"Zone {number}" for number in range(260)]}
    catalog = data / "outputs" / "catalog" / "available_data.json"
    catalog.write_text(json.dumps({"months": [month], "zones": zones}))
    report = {
        "generated": "2026-02-01T00:00:00Z",
        "by_hour": [[1000 * hour + day for day in range(7)] for hour in range(24)],
        "weekdays": [2, 2, 3, 2, 2, 2, 2],
        "remark": "",
        "coverage": {"months": [month], "exclusions": []},
    }
    for number in range(REPORTS):
        _write_report(data, number, report if number % 10 else None)


def _write_report(data: Path, number: int, report: dict[str, Any] | None) -> None:
    """Write a request, and its outcome if it has a report."""
    name = f"report_{number:05}"
    question = {
        "borough": "Manhattan",
        "zone": f"Zone {number % 260}",
        "start_date": "2023-01-10",
        "end_date": f"2023-01-{11 + number % 20}",
    }
    content = json.dumps(question)
    (data / "requests" / f"{name}.json").write_text(content)
    if report is None:
        return
    outcome = {
        "status": "done",
        "filename": f"{name}.json",
        "content_hash": blake2b(content.encode(), digest_size=16).hexdigest(),
        "request": question,
        "updated": report["generated"],
        "run_id": "7c1f0a52-0000-4000-8000-000000000000",
        "report": report,
    }
    (data / "outputs" / f"{name}.json").write_text(json.dumps(outcome))
