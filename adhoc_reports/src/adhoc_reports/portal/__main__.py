"""Starts the report portal: `python -m adhoc_reports.portal`."""

import argparse
import logging

from adhoc_reports.portal.address import base_path
from adhoc_reports.portal.app import create_app
from adhoc_reports.portal.runs import Dagster
from taxi_shared import settings, web
from taxi_shared.storage import DataRoot


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m adhoc_reports.portal", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    url = settings.load().dagster_url.rstrip("/")
    try:
        app = create_app(
            DataRoot.at(settings.load().data_root),
            Dagster(url, settings.load().dagster_public_url.rstrip("/") or url),
            hosts=settings.load().portal_hosts,
            path=base_path(settings.load().portal_path),
        )
    except ValueError as error:  # of a setting
        parser.error(str(error))
    web.serve(app, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
