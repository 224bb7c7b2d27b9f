"""Tells by webhook and e-mail (TAXI_ALERTS) what goes wrong: `alerts` of the compose file."""

import logging
import os
import sys
from pathlib import Path

from taxi_platform.alerts.channels import configured
from taxi_platform.alerts.watch import Watch
from taxi_platform.graphql import GraphQL
from taxi_shared import settings

logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
channels = configured()
if not channels:
    sys.exit("TAXI_ALERTS is not set; expected webhook, email or both")
webserver = os.environ["DAGSTER_URL"]
ui = settings.load().ui_url or os.environ["DAGSTER_PUBLIC_URL"]
Watch(GraphQL(webserver), channels, Path("/logs/alerts.json"), ui.rstrip("/")).forever()
