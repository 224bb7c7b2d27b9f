"""Starts the report portal: `python -m adhoc_reports.portal`."""

import argparse
import logging

import uvicorn

from adhoc_reports.portal.app import create_app
from adhoc_reports.portal.runs import Dagster
from taxi_shared import settings
from taxi_shared.storage import DataRoot

CONNECTIONS = 500


def hosts(setting: str) -> list[str]:
    """The names that the portal is reached by: those of a setting, and this machine's own, which
    whoever asks after its health uses."""
    named = [name.strip() for name in setting.split(",")]
    return list(dict.fromkeys(name for name in (*named, "127.0.0.1", "localhost") if name))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m adhoc_reports.portal", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    url = settings.get(settings.DAGSTER_URL).rstrip("/")
    app = create_app(
        DataRoot.at(settings.get(settings.DATA_ROOT)),
        Dagster(url, settings.get(settings.DAGSTER_PUBLIC_URL).rstrip("/") or url),
        hosts=hosts(settings.get(settings.PORTAL_HOSTS)),
    )
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        limit_concurrency=CONNECTIONS,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
