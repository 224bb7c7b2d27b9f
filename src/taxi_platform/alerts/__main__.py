"""Starts the alert watcher: `python -m taxi_platform.alerts --url … --state …`."""

import logging
from pathlib import Path

import click

from taxi_platform.alerts.channels import configured
from taxi_platform.alerts.watcher import Watcher
from taxi_platform.graphql import GraphQL
from taxi_shared import settings
from taxi_shared.secrets import SecretError


@click.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The webserver.")
@click.option(
    "--state",
    required=True,
    help="File with the reported problems and the messages still to send.",
    type=click.Path(dir_okay=False, path_type=Path),
)
def alerts(url: str, state: Path) -> None:
    """Send alerts by webhook, e-mail or log (TAXI_ALERTS), until Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        channels = configured()
    except (ValueError, SecretError) as error:
        raise click.ClickException(str(error)) from None
    if not channels:
        raise click.ClickException("TAXI_ALERTS is not set; expected webhook, email or log")
    ui = settings.load().ui_url or settings.load().dagster_public_url or url
    Watcher(GraphQL(url), channels, state, ui.rstrip("/")).run_forever()


if __name__ == "__main__":
    alerts(prog_name="taxi_platform.alerts")
