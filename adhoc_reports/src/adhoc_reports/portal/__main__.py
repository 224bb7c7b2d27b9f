"""Starts the report portal: `python -m adhoc_reports.portal`."""

import argparse
import logging

from adhoc_reports.portal.address import base_path
from adhoc_reports.portal.app import Options, create_app
from taxi_shared import settings, web
from taxi_shared.storage import DataRoot


def main() -> None:
    """Serve the portal until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m adhoc_reports.portal", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        found = settings.load()
        options = Options(
            hosts=found.portal_hosts,
            base_path=base_path(found.portal_path),
            dagster_url=found.dagster_public_url.rstrip("/"),
        )
        app = create_app(DataRoot.at(found.data_root), options)
    except ValueError as error:  # of a setting
        parser.error(str(error))
    web.serve(app, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
