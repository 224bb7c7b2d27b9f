"""The demo: sample data through the whole platform, then a report on request."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from upath import UPath

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline, PipelineError, Run
from taxi_platform.sample import write_sample
from taxi_shared.storage import DataRoot, write_text

MONTHS = MonthRange.between("2023-01", "2023-03")
REPORT = "manhattan_first_quarter"
REPORT_SECONDS = 60


def environment(root: Path) -> dict[str, str]:
    """The settings of a demo below `root`, on three months of synthetic data."""
    source = root / "source"
    return {
        "TAXI_DATA_ROOT": str(root),
        "TLC_SOURCE_URL": str(source),
        "TAXI_ZONES_URL": str(source / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTHS.first.isoformat(),
        "TAXI_END_DATE": MONTHS.end.isoformat(),
        "TAXI_SERVICES": "",
        "TAXI_FOLLOW_TLC": "off",
        "DUCKDB_DATABASE": "",
    }


def make_sample(root: Path, rows: int, console: Console) -> None:
    """Write three months of synthetic trips and the zones, unless they exist."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("synthetic sample", total=None)
        write_sample(
            root / "source",
            MONTHS.months,
            rows,
            progress=lambda path, done, total: progress.update(task, completed=done, total=total),
        )


def request_report(pipeline: Pipeline, root: Path) -> Path:
    """Write a request file, as an analyst would, and wait for its chart; returns its path."""
    files = DataRoot.at(str(root))
    outcome = files.outputs / f"{REPORT}.json"
    previous = outcome.read_text() if outcome.exists() else ""
    _write_request(files)
    begin = time.monotonic()
    with pipeline.console.status("request written, waiting for its chart"):
        while (found := _ended(outcome, previous)) is None:
            pipeline.instance.check()
            if time.monotonic() - begin > REPORT_SECONDS:
                raise PipelineError(f"no chart {REPORT_SECONDS} s after the request")
            time.sleep(0.2)
    if found["status"] != "done":
        raise PipelineError(f"the report was {found['status']}: {found['reason']}")
    title = f"report, its chart after {time.monotonic() - begin:.1f} s"
    pipeline.run(Run(title, found["run_id"]))
    return Path(str(files.outputs / f"{REPORT}.png"))


def _write_request(files: DataRoot) -> None:
    request = {
        "borough": "Manhattan",
        "start_date": MONTHS.first.isoformat(),
        "end_date": MONTHS.end.isoformat(),
    }
    file = files.requests / f"{REPORT}.json"
    # Only new content is answered: in a second demo the file gets one more line break.
    line_breaks = file.read_text().count("\n") if file.exists() else 0
    write_text(file, json.dumps(request) + "\n" * (line_breaks + 1))


def _ended(outcome: UPath, previous: str) -> dict[str, Any] | None:
    """The outcome of the new request once it has ended; None before."""
    text = outcome.read_text() if outcome.exists() else ""
    found: dict[str, Any] = json.loads(text) if text not in ("", previous) else {}
    return found if found.get("status") in ("done", "failed", "rejected") else None


def run(instance: Instance, root: Path, console: Console) -> None:
    """Run the demo on a running instance. Raises PipelineError if anything fails."""
    pipeline = Pipeline(instance, console)
    pipeline.wait_for_locations()
    began = time.time()
    pipeline.ingest(MONTHS)
    pipeline.follow_automation(began, time.time())
    chart = request_report(pipeline, root)
    console.print(pipeline.summary())
    outputs = DataRoot.at(str(root)).outputs
    for label, path in (
        ("map", outputs / "manhattan_map.png"),
        ("weeks", outputs / "trips_by_week.csv"),
        ("chart", chart),
    ):
        console.print(f"{label:>7}: {path}", soft_wrap=True, highlight=False)
