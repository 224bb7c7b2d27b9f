"""The commands behind the Makefile: demo, pipeline, dev, status, deploy, alerts, sample."""

import logging
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
from dotenv import dotenv_values
from rich.console import Console

from taxi_platform import demo as demonstration
from taxi_platform.alerts.channels import configured
from taxi_platform.alerts.watch import Watch
from taxi_platform.calendar import MonthRange
from taxi_platform.deploy import ComposeGraphQL, DeployError, Deployment
from taxi_platform.graphql import GraphQL, GraphQLError
from taxi_platform.instance import Instance, InstanceError, check_ports, run_instance, running_at
from taxi_platform.pipeline import Pipeline, PipelineError, request_name
from taxi_platform.sample import write_sample
from taxi_platform.status import show
from taxi_platform.workspace import ROOT, locations
from taxi_shared import s3, settings
from taxi_shared.addresses import without_proxy_for_loopback
from taxi_shared.partitions import monthly
from taxi_shared.s3 import S3Error
from taxi_shared.secrets import SecretError
from taxi_shared.storage import DataRoot


def load_settings(path: Path) -> None:
    """Add the settings of a file to the environment, where what is set already stays.

    A value is taken as it is written: a password may have `$` in it.
    The keys of AWS are taken from one of the two: a session token belongs to its own key.
    """
    keys = (s3.KEY_ID, s3.SECRET, s3.TOKEN)
    has_keys = any(os.environ.get(name) for name in keys)
    for name, value in dotenv_values(path, interpolate=False).items():
        if value is not None and not (has_keys and name in keys):
            os.environ.setdefault(name, value)


load_settings(ROOT / ".env")
os.environ.update(without_proxy_for_loopback(os.environ))
HOME = Path(os.environ.get("DAGSTER_HOME") or ROOT / ".dagster")
console = Console()


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What a user can act on is printed without a stack trace, with status 1."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (InstanceError, PipelineError, GraphQLError, DeployError, S3Error) as error:
            console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            console.print("stopped")
            sys.exit(130)

    return wrapper


portal_port = click.option(
    "--portal-port", default=8000, show_default=True, help="Port of the report portal."
)
served_port = click.option(
    "--port",
    type=int,
    help="Port of the UI on 127.0.0.1; by default that of `make dev` or `make demo`, else "
    "TAXI_PORT, else 3000.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The taxi platform on this machine."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)


@cli.command()
@click.option("--from", "first", default="", help="First month, as in 2023-01.")
@click.option("--to", "last", default="", help="Last month, as in 2023-03.")
@click.option("--green", is_flag=True, help="Load the green trips of the months as well.")
@reports_errors
def pipeline(first: str, last: str, green: bool) -> None:
    """Materialise every asset for a range of months, and all full weeks in it, without a UI.

    Green trips are loaded on request: a mirror may have yellow trips only. What was left out is
    listed at the end.
    """
    months = MonthRange.between(first, last)
    months.check_within(monthly().get_partition_keys())
    root = _data_root()
    console.print("starting the code locations")
    with run_instance(HOME, daemon=False) as instance:
        work = Pipeline(instance, console)
        try:
            work.wait_for_locations()
            work.run_all(months, green=green)
            work.run_request(request_name(months), "Manhattan", months)
        finally:
            console.print(work.summary())
        if left_out := work.left_out():
            green_too = "" if green else "; GREEN=1 loads green trips"
            console.print(f"Left out: {', '.join(left_out)}{green_too}", soft_wrap=True)
    console.print(f"Results are in {root.base}", soft_wrap=True, highlight=False)


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@portal_port
@reports_errors
def dev(port: int, portal_port: int) -> None:
    """The UI, the daemon and all locations on the configured source, until Ctrl-C."""
    begin = time.monotonic()
    _data_root()
    console.print("starting the code locations, the webserver and the daemon")
    with run_instance(HOME, port=port, portal_port=portal_port) as instance:
        for name, error in instance.graphql.location_errors().items():
            console.print(f"[red]✗[/] {name}: {error}" if error else f"[green]✓[/] {name}")
        console.print(f"{time.monotonic() - begin:.1f} s; logs are in {instance.home / 'servers'}")
        _serve(instance)


@cli.command()
@click.option("--exit", "exit_after", is_flag=True, help="End after success instead of serving.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@portal_port
@click.option("--rows", default=300_000, show_default=True, help="Trips a month of the sample.")
@reports_errors
def demo(exit_after: bool, port: int, portal_port: int, rows: int) -> None:
    """Sample data through the whole platform: every asset, then a request and its chart."""
    root = ROOT / "data" / "demo"
    check_ports(port, portal_port)
    demonstration.make_sample(root, rows, console)
    console.print("starting the code locations, the webserver and the daemon")
    with run_instance(
        HOME / "demo",
        port=port,
        portal_port=portal_port,
        environment=demonstration.environment(root),
    ) as instance:
        demonstration.run(instance, root, console)
        if not exit_after:
            _serve(instance)


@cli.command()
@served_port
@reports_errors
def status(port: int | None) -> None:
    """Show the state of the running instance; exits with 1 where an error needs attention."""
    running = None if port else running_at([HOME, HOME / "demo"])
    port = port or int(os.environ.get("TAXI_PORT") or 3000)
    graphql = GraphQL(running or f"http://127.0.0.1:{port}")
    if not graphql.is_up():
        raise InstanceError(f"nothing answers at {graphql.url}: `make dev` starts the platform")
    sys.exit(0 if show(graphql, console) else 1)


@cli.command()
@click.argument("name", type=click.Choice([location.name for location in locations()]))
@click.option("--tested", is_flag=True, help="The location's tests have passed already.")
@reports_errors
def deploy(name: str, tested: bool) -> None:
    """Put the working tree's version of a location into the compose project."""
    graphql = ComposeGraphQL()
    if not graphql.is_up():
        raise DeployError("the webserver does not answer: `docker compose up -d --wait`")
    served = {location.name: location for location in locations()}
    begin = time.monotonic()
    neighbours = [each for each in served if each != name]
    image = Deployment(served[name], neighbours, graphql, console).run(tested=tested)
    console.print(f"[green]✓[/] {image} serves {name} after {time.monotonic() - begin:.0f} s")


@cli.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The webserver.")
@click.option(
    "--state",
    default=str(HOME / "alerts.json"),
    help="File of what was told and what is to be sent.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@reports_errors
def alerts(url: str, state: Path) -> None:
    """Tell by webhook and e-mail (TAXI_ALERTS) what goes wrong, until Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        channels = configured()
    except (ValueError, SecretError) as error:
        raise click.ClickException(str(error)) from None
    if not channels:
        raise click.ClickException("TAXI_ALERTS is not set; expected webhook, email or both")
    ui = settings.load().ui_url.rstrip("/") or url
    Watch(GraphQL(url), channels, state, ui).forever()


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


def _data_root() -> DataRoot:
    """The configured data root. Raises S3Error or ClickException where it cannot be used."""
    try:
        root = DataRoot.at(settings.load().data_root)
        root.check()
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    return root


def _serve(instance: Instance) -> None:
    console.print(
        f"The UI is at {instance.url}, the report portal at {instance.portal_url}, until Ctrl-C",
        highlight=False,
    )
    while True:
        instance.check()
        time.sleep(1)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    cli(prog_name="taxi_platform")
