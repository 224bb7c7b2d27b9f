"""`python -m bench`: measure, store the results, write the report."""

import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from bench import report
from bench.measurements import MEASUREMENTS
from bench.processes import remove_settings
from bench.results import Results, load
from bench.runs import BenchError
from bench.scale import HISTORY_ROWS, STANDARD_ROWS, Bench, NotEnoughDisk
from taxi_platform.graphql import GraphQLError
from taxi_platform.instance import InstanceError
from taxi_platform.pipeline import PipelineError

HERE = Path(__file__).parent


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--full", is_flag=True, help="36 months instead of six.")
@click.option("--rows", default=STANDARD_ROWS, show_default=True, help="Trips per month.")
@click.option(
    "--history-rows",
    type=int,
    help="Trips per month of a lake of 204 months; 8333333 for as many as TLC has published.  "
    "[default: 40000, or in proportion to --rows]",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(MEASUREMENTS)),
    help="Run this measurement only, and add it to the newest results; repeatable.",
)
@click.option(
    "--work",
    default=HERE / ".work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the sample and lakes, on the disk to measure.  [default: bench/.work]",
)
def main(  # noqa: PLR0913, PLR0917 - one per option
    full: bool, rows: int, history_rows: int | None, only: tuple[str, ...], work: Path
) -> None:
    """Measure the platform against a bare script and the usual set-up."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    remove_settings()
    bench = Bench(
        work.resolve(), rows, full, history_rows or max(1, rows * HISTORY_ROWS // STANDARD_ROWS)
    )
    # Other sizes only try out the benchmarks, or a change: their results are not published.
    home = HERE if bench.is_standard and full else bench.work
    try:
        bench.check_disk()
    except NotEnoughDisk as error:
        raise click.ClickException(str(error)) from None
    results = Results.begin(bench, home / "results", merge=bool(only))
    status = 0
    try:
        status = 1 if _measure(bench, results, only) else 0
    except KeyboardInterrupt:
        bench.log("stopped; finished measurements are stored")
        status = 130
    if results.measurements:
        report.update(home / "README.md", results)
        bench.log(f"{results.path}\n  {home / 'README.md'}")
    sys.exit(status)


def _measure(bench: Bench, results: Results, only: tuple[str, ...]) -> list[str]:
    """Run the measurements; returns the names of those that failed, after all others have run."""
    failures = []
    begin = time.monotonic()
    for name in only or MEASUREMENTS:
        bench.console.rule(f"{name}  ({time.monotonic() - begin:.0f} s)", align="left")
        load_before = load()
        try:
            results.add(name, load_before, MEASUREMENTS[name](bench))
        except (BenchError, InstanceError, PipelineError, GraphQLError) as error:
            failures.append(name)
            bench.console.print(f"[red]✗[/] {name}: {error}", highlight=False, soft_wrap=True)
        finally:
            _remove_leftovers(bench)
    return failures


def _remove_leftovers(bench: Bench) -> None:
    """Remove what no later run uses: all but the sample, the lakes and the results."""
    for folder in bench.work.iterdir():
        if folder.is_dir() and folder.name not in ("sample", "lakes", "results", "charts"):
            shutil.rmtree(folder, ignore_errors=True)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m bench")
