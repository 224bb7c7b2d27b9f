"""The commands behind the Makefile: demo, pipeline, dev, status, deploy, alerts, sample."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from dotenv import dotenv_values
from rich.console import Console
from rich.markup import escape

from taxi_platform import demo as demonstration
from taxi_platform import spark
from taxi_platform.alerts.__main__ import alerts
from taxi_platform.calendar import MonthRange
from taxi_platform.deploy import ComposeGraphQL, DeployError, Deployment
from taxi_platform.graphql import GraphQLError, JobSubset
from taxi_platform.history import show_history
from taxi_platform.instance import (
    Instance,
    InstanceError,
    RunningInstance,
    check_ports,
    running_at,
)
from taxi_platform.pipeline import Pipeline, PipelineError, Run, report_name
from taxi_platform.sample import write_sample
from taxi_platform.scaffold import LocationError, Scaffold
from taxi_platform.spark import SparkError
from taxi_platform.status import show
from taxi_platform.workspace import ROOT, locations
from taxi_shared import s3, services, settings, storage, tables
from taxi_shared.addresses import without_proxy_for_loopback
from taxi_shared.lake import Lake
from taxi_shared.partitions import monthly
from taxi_shared.storage import DataRoot
from taxi_shared.stores import StoreError


def load_settings(path: Path) -> None:
    """Add the settings of a file to the environment; variables that are set win.

    Values are literal: a password may contain `$`. AWS keys come from one place only, because a
    session token belongs to its own key.
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
TABLES = {table.name: table for table in tables.TABLES}
# What writes the tables that have months.
LOADS = {
    service.table.name: JobSubset(service.job_name, [service.asset])
    for service in services.SERVICES
}


# Ctrl-C, `kill`, and the end of the terminal.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Errors that a user can act on.
USERS_ERRORS = (
    InstanceError,
    PipelineError,
    GraphQLError,
    DeployError,
    LocationError,
    StoreError,
    SparkError,
)


def print_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print errors that a user can act on without a stack trace, and exit with status 1."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except USERS_ERRORS as error:
            console.print(f"[red]✗[/] {error}", highlight=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal has been closed
                console.print("Stopped.")
            sys.exit(130)

    return wrapper


def show_problem(text: str) -> None:
    """Show what went wrong and is being repaired."""
    console.print(f"[yellow]![/] {escape(text)}", highlight=False, soft_wrap=True)


portal_port = click.option(
    "--portal-port", default=8000, show_default=True, help="Port of the report portal."
)
served_port = click.option(
    "--port",
    type=int,
    help="Port of the UI on 127.0.0.1; by default the one of `make dev` or `make demo`, else "
    "TAXI_PORT, else 3000.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run and inspect the taxi platform on this machine."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it for SIGHUP
            signal.signal(number, _interrupt)


@cli.command()
@click.option("--from", "first", default="", help="First month, as in 2023-01.")
@click.option("--to", "last", default="", help="Last month, as in 2023-03.")
@click.option(
    "--services", "names", default="", help="Services to load besides yellow, as in green,fhvhv."
)
@print_errors
def pipeline(first: str, last: str, names: str) -> None:
    """Materialize every asset for a range of months and the full weeks in it, without a UI.

    Other services are optional, because a mirror may have yellow trips only. Assets that were not
    materialized are listed at the end.
    """
    optional = _services_besides_yellow()
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in optional]:
        raise click.BadParameter(
            f"{', '.join(unknown)}; expected some of {', '.join(optional)}, the services besides "
            "yellow in TAXI_SERVICES",
            param_hint="--services",
        )
    months = MonthRange.between(first, last)
    months.check_within(monthly().get_partition_keys())
    root = _data_root()
    console.print("Starting the code locations …")
    with Instance(HOME, daemon=False, report=show_problem) as instance:
        work = Pipeline(instance, console)
        try:
            work.wait_for_locations()
            work.run_all(months, [optional[name] for name in chosen])
            work.run_report(report_name(months), "Manhattan", months)
        finally:
            console.print(work.summary())
        if missing := work.not_materialized():
            others = ",".join(name for name in optional if name not in chosen)
            hint = f"; SERVICES={others} loads those trips" if others else ""
            console.print(f"Not materialized: {', '.join(missing)}{hint}", soft_wrap=True)
    console.print(f"Results are in {root.base}", soft_wrap=True, highlight=False)


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@portal_port
@print_errors
def dev(port: int, portal_port: int) -> None:
    """Start the UI, the daemon, the portal and all code locations, until Ctrl-C."""
    begin = time.monotonic()
    root = _data_root()
    if storage.is_local(root.base):
        root.requests.mkdir(parents=True, exist_ok=True)  # where people drop them
    console.print("Starting the code locations, the webserver and the daemon …")
    with Instance(HOME, port=port, portal_port=portal_port, report=show_problem) as instance:
        for name, error in instance.graphql.location_errors().items():
            line = f"[red]✗[/] {name}: {escape(error)}" if error else f"[green]✓[/] {name}"
            console.print(line, highlight=False, soft_wrap=True)
        console.print(
            f"Started in {time.monotonic() - begin:.1f} s; logs are in {instance.home / 'servers'}"
        )
        _serve(instance)


@cli.command()
@click.option("--exit", "exit_after", is_flag=True, help="Exit when everything has succeeded.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@portal_port
@click.option("--rows", default=300_000, show_default=True, help="Trips per month.")
@print_errors
def demo(exit_after: bool, port: int, portal_port: int, rows: int) -> None:
    """Run sample data through the whole platform: every asset, then a request and its chart."""
    root = ROOT / "data" / "demo"
    check_ports(port, portal_port)
    demonstration.make_sample(root, rows, console)
    console.print("Starting the code locations, the webserver and the daemon …")
    with Instance(
        HOME / "demo",
        port=port,
        portal_port=portal_port,
        environment=demonstration.environment(root),
        report=show_problem,
    ) as instance:
        demonstration.run(instance, root, console)
        if not exit_after:
            _serve(instance)


@cli.command()
@served_port
@print_errors
def status(port: int | None) -> None:
    """Show the status of the running instance; exit with 1 if an error needs attention."""
    sys.exit(0 if show(_running(port).graphql, console) else 1)


@cli.command()
@click.argument("name", type=click.Choice(sorted(TABLES)))
@click.option("--month", default="", help="Only commits of this month, as in 2023-03.")
@print_errors
def history(name: str, month: str) -> None:
    """List the versions of a table of the lake, newest first: what was loaded, and from where."""
    show_history(Lake(_data_root()), TABLES[name], month, console)


@cli.command()
@click.argument("name", type=click.Choice(sorted(LOADS)))
@click.option("--month", required=True, help="Month to put back, as in 2023-03.")
@click.option("--to", "version", type=int, required=True, help="Version, as `history` lists them.")
@served_port
@print_errors
def rollback(name: str, month: str, version: int, port: int | None) -> None:
    """Put a month of a table back as it was in a version, by a run of the running instance."""
    (asset,) = LOADS[name].assets
    run_id = _running(port).graphql.launch(
        "ingestion",
        LOADS[name],
        tags={"dagster/partition": MonthRange.between(month, month).first.isoformat()},
        run_config={"ops": {asset: {"config": {"roll_back_to": version}}}},
    )
    Pipeline(_running(port), console).run(Run(f"{name} of {month}, version {version}", run_id))


@cli.command()
@click.argument("name", type=click.Choice([location.name for location in locations()]))
@click.option("--tested", is_flag=True, help="Skip the location's tests.")
@print_errors
def deploy(name: str, tested: bool) -> None:
    """Deploy the working tree's version of a code location to the compose project."""
    graphql = ComposeGraphQL()
    if not graphql.is_up():
        raise DeployError(
            "the webserver does not answer; start it with `docker compose up -d --wait`"
        )
    served = {location.name: location for location in locations()}
    begin = time.monotonic()
    neighbours = [each for each in served if each != name]
    image = Deployment(served[name], neighbours, graphql, console).run(tested=tested)
    console.print(f"[green]✓[/] {image} serves {name} after {time.monotonic() - begin:.0f} s")


@cli.command("location")
@click.argument("name")
@click.option("--owner", default="", help="Team that owns it; by default it has the same name.")
@click.option("--python", default="", help="Python of its image and environment, as in 3.13.")
@click.option("--remove", is_flag=True, help="Remove it; data and history stay.")
@click.option("--force", is_flag=True, help="Remove work that is not committed, too.")
@print_errors
def location_command(  # noqa: PLR0913, PLR0917 - one per option
    name: str, owner: str, python: str, remove: bool, force: bool
) -> None:
    """Add a code location with an example asset, or remove it."""
    scaffold = Scaffold(name, owner, python)
    if remove:
        left = scaffold.remove(force=force)
        console.print(f"Removed {name}/ and its entry in dg.toml; its data and history stay.")
        if left:
            console.print(
                f"docker-compose.yml still has {', '.join(left)}, which use the image of {name}: "
                "remove these services by hand, there and in deploy/production.yml.",
                soft_wrap=True,
            )
        return
    for line in [f"wrote {path}" for path in scaffold.add()] or [f"{name} exists"]:
        console.print(line, soft_wrap=True, highlight=False)


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--from", "first", default="", help="First month, as in 2023-01.")
@click.option("--to", "last", default="", help="Last month, as in 2023-03.")
@click.option("--rows", default=300_000, show_default=True, help="Trips per month.")
@click.option("--service", default="yellow", type=click.Choice(services.NAMES))
@print_errors
def sample(  # noqa: PLR0913, PLR0917 - one per option
    folder: Path, first: str, last: str, rows: int, service: str
) -> None:
    """Write synthetic trips and zones in TLC's layout to FOLDER, for TLC_SOURCE_URL."""
    months = MonthRange.between(first, last)
    for path in write_sample(folder, months.months, rows, service=service):
        console.print(path, soft_wrap=True, highlight=False)


@cli.command("spark")
@click.option("--rows", default=300_000, show_default=True, help="Trips per month.")
@print_errors
def spark_beside_duckdb(rows: int) -> None:
    """Compute metrics and a report of a sample with Spark and with DuckDB, and compare them."""
    sys.exit(0 if spark.compare(rows, console) else 1)


def _running(port: int | None) -> RunningInstance:
    """The running instance. Raises InstanceError if none answers."""
    running = None if port else running_at([HOME, HOME / "demo"])
    port = port or int(os.environ.get("TAXI_PORT") or 3000)
    instance = RunningInstance(running or f"http://127.0.0.1:{port}")
    instance.check()
    return instance


def _services_besides_yellow() -> dict[str, services.Service]:
    """Services in TAXI_SERVICES by name. Raises ClickException where yellow is not among them."""
    try:
        loaded = settings.load().services
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if services.YELLOW.name not in loaded:
        raise click.ClickException(
            f"TAXI_SERVICES is {','.join(loaded)!r}; expected yellow in it, from whose trips the "
            "results are made"
        )
    others = [each for each in services.SERVICES if each != services.YELLOW]
    return {each.name: each for each in others if each.name in loaded}


def _data_root() -> DataRoot:
    """The configured data root. Raises StoreError or ClickException if it cannot be used."""
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
    for number in STOPPING:
        signal.signal(number, _is_stopping)
    raise KeyboardInterrupt


def _is_stopping(signum: int, frame: FrameType | None) -> None:
    """Do nothing: an end at once would leave what has not been stopped yet."""
    with suppress(OSError):  # the terminal has been closed
        os.write(sys.stderr.fileno(), b"Still stopping ...\n")


cli.add_command(alerts)

if __name__ == "__main__":
    cli(prog_name="taxi_platform")
