"""The commands behind the Makefile: demo, pipeline, dev, status, sample."""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from dotenv import load_dotenv
from rich.console import Console

from taxi_platform import demo as demonstration
from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import GraphQL, GraphQLError
from taxi_platform.instance import Instance, InstanceError, run_instance
from taxi_platform.pipeline import Pipeline, PipelineError, request_name
from taxi_platform.sample import write_sample
from taxi_platform.status import show
from taxi_platform.workspace import ROOT
from taxi_shared import settings
from taxi_shared.partitions import monthly

load_dotenv(ROOT / ".env")  # what the environment sets already stays
HOME = Path(os.environ.get("DAGSTER_HOME") or ROOT / ".dagster")
console = Console()


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What a user can act on is printed without a stack trace, with status 1."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (InstanceError, PipelineError, GraphQLError) as error:
            console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            console.print("stopped")
            sys.exit(130)

    return wrapper


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The taxi platform on this machine."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)


@cli.command()
@click.option("--from", "first", default="", help="First month, as in 2023-01.")
@click.option("--to", "last", default="", help="Last month, as in 2023-03.")
@reports_errors
def pipeline(first: str, last: str) -> None:
    """Materialise every asset for a range of months, and all full weeks in it, without a UI."""
    months = MonthRange.between(first, last)
    months.check_within(monthly().get_partition_keys())
    console.print("starting the code locations")
    with run_instance(HOME, daemon=False) as instance:
        work = Pipeline(instance, console)
        try:
            work.wait_for_locations()
            work.run_all(months)
            work.run_request(request_name(months), "Manhattan", months)
        finally:
            console.print(work.summary())
    root = settings.locate(settings.get(settings.DATA_ROOT))
    console.print(f"Results are in {root}", soft_wrap=True, highlight=False)


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@reports_errors
def dev(port: int) -> None:
    """The UI, the daemon and all locations on the configured source, until Ctrl-C."""
    begin = time.monotonic()
    console.print("starting the code locations, the webserver and the daemon")
    with run_instance(HOME, port=port) as instance:
        for name, error in instance.graphql.location_errors().items():
            console.print(f"[red]✗[/] {name}: {error}" if error else f"[green]✓[/] {name}")
        console.print(f"{time.monotonic() - begin:.1f} s; logs are in {instance.home / 'servers'}")
        _serve(instance)


@cli.command()
@click.option("--exit", "exit_after", is_flag=True, help="End after success instead of serving.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@click.option("--rows", default=300_000, show_default=True, help="Trips a month of the sample.")
@reports_errors
def demo(exit_after: bool, port: int, rows: int) -> None:
    """Sample data through the whole platform: every asset, then a request and its chart."""
    root = ROOT / "data" / "demo"
    demonstration.make_sample(root, rows, console)
    console.print("starting the code locations, the webserver and the daemon")
    with run_instance(
        HOME / "demo", port=port, environment=demonstration.environment(root)
    ) as instance:
        demonstration.run(instance, root, console)
        if not exit_after:
            _serve(instance)


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@reports_errors
def status(port: int) -> None:
    """The running instance at a look; status 1 where something needs attention."""
    graphql = GraphQL(f"http://127.0.0.1:{port}")
    if not graphql.is_up():
        raise InstanceError(f"nothing answers at {graphql.url}: `make dev` starts the platform")
    sys.exit(0 if show(graphql, console) else 1)


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--from", "first", default="", help="First month, as in 2023-01.")
@click.option("--to", "last", default="", help="Last month, as in 2023-03.")
@click.option("--rows", default=300_000, show_default=True, help="Trips a month.")
@click.option("--service", default="yellow", type=click.Choice(["yellow", "green"]))
@reports_errors
def sample(folder: Path, first: str, last: str, rows: int, service: str) -> None:
    """Synthetic trips and zones in TLC's layout in FOLDER: a source for TLC_SOURCE_URL."""
    months = MonthRange.between(first, last)
    for path in write_sample(folder, months.months, rows, service=service):
        console.print(path, soft_wrap=True, highlight=False)


def _serve(instance: Instance) -> None:
    console.print(f"The UI is at {instance.url} until Ctrl-C", highlight=False)
    while True:
        instance.check()
        time.sleep(1)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    cli(prog_name="taxi_platform")
