"""The demonstration: sample data through the whole platform, then a request and its chart."""

import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline, PipelineError, Run
from taxi_platform.sample import write_sample
from taxi_shared.storage import DataRoot, write_text

MONTHS = MonthRange.between("2023-01", "2023-03")
REQUEST = "manhattan_first_quarter"
REQUEST_SECONDS = 60


def environment(root: Path) -> dict[str, str]:
    """The settings of a demonstration below `root`: three months of synthetic data of its own."""
    source = root / "source"
    return {
        "TAXI_DATA_ROOT": str(root),
        "TLC_SOURCE_URL": str(source),
        "TAXI_ZONES_URL": str(source / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTHS.first.isoformat(),
        "TAXI_END_DATE": MONTHS.end.isoformat(),
        "TAXI_FOLLOW_TLC": "off",
        "DUCKDB_DATABASE": "",
    }


def make_sample(root: Path, rows: int, console: Console) -> None:
    """Three months of synthetic trips and the zones, where they are not there yet."""
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


def ask(pipeline: Pipeline, root: Path) -> Path:
    """Drop a request into the folder, as an analyst would, and wait for its chart."""
    files, graphql = DataRoot.at(str(root)), pipeline.graphql
    chart = Path(str(files.outputs / f"{REQUEST}.png"))
    error = Path(str(files.outputs / f"{REQUEST}.error.json"))
    chart.unlink(missing_ok=True)
    error.unlink(missing_ok=True)
    request = {
        "borough": "Manhattan",
        "start_date": MONTHS.first.isoformat(),
        "end_date": MONTHS.end.isoformat(),
    }
    old = graphql.runs_of("adhoc_reports", "adhoc_request_job")
    file = files.requests / f"{REQUEST}.json"
    # The sensor answers new content only: in a second demo the file gets one more line break.
    line_breaks = file.read_text().count("\n") if file.exists() else 0
    write_text(file, json.dumps(request) + "\n" * (line_breaks + 1))
    begin = time.monotonic()
    with pipeline.console.status("request dropped, waiting for its chart"):
        while not chart.exists():
            pipeline.instance.check()
            if error.exists():
                raise PipelineError(f"the request was refused: {error.read_text()}")
            runs = graphql.runs_of("adhoc_reports", "adhoc_request_job")
            failed = [run for run, status in runs.items() if status == "FAILURE" and run not in old]
            if failed:
                raise PipelineError(f"the request's run failed: {graphql.run_failure(failed[0])}")
            if time.monotonic() - begin > REQUEST_SECONDS:
                raise PipelineError(f"no chart {REQUEST_SECONDS} s after the request")
            time.sleep(0.2)
    answered = time.monotonic() - begin
    new = graphql.runs_of("adhoc_reports", "adhoc_request_job").keys() - old.keys()
    pipeline.run(*(Run(f"request, its chart after {answered:.1f} s", run_id) for run_id in new))
    return chart


def run(instance: Instance, root: Path, console: Console) -> None:
    """Everything through a running instance. Raises PipelineError if anything fails."""
    pipeline = Pipeline(instance, console)
    pipeline.wait_for_locations()
    began = time.time()
    pipeline.ingest(MONTHS)
    pipeline.follow_automation(began, time.time())
    chart = ask(pipeline, root)
    console.print(pipeline.summary())
    outputs = DataRoot.at(str(root)).outputs
    for label, path in (
        ("map", outputs / "manhattan_map.png"),
        ("weeks", outputs / "trips_by_week.csv"),
        ("chart", chart),
    ):
        console.print(f"{label:>7}: {path}", soft_wrap=True, highlight=False)
