"""The environment the platform runs in. Nothing else reads environment variables.

Each setting has a default that works on one machine; `.env.example` lists them all.
"""

import os
from datetime import date
from pathlib import Path

from dagster import EnvVar

DATA_ROOT = "TAXI_DATA_ROOT"
DUCKDB_DATABASE = "DUCKDB_DATABASE"
SOURCE_URL = "TLC_SOURCE_URL"
ZONES_URL = "TAXI_ZONES_URL"
START_DATE = "TAXI_START_DATE"
END_DATE = "TAXI_END_DATE"
MEMORY_LIMIT = "TAXI_DUCKDB_MEMORY"
REQUEST_WATCH_SECONDS = "TAXI_REQUEST_WATCH_SECONDS"

DEFAULTS = {
    DATA_ROOT: "data",
    DUCKDB_DATABASE: "",
    SOURCE_URL: "https://d37ci6vzurychx.cloudfront.net",
    ZONES_URL: "https://community-engineering-artifacts.s3.us-west-2.amazonaws.com"
    "/dagster-university/data/taxi_zones.csv",
    START_DATE: "2023-01-01",
    END_DATE: "",
    MEMORY_LIMIT: "400MB",
    REQUEST_WATCH_SECONDS: "0",
}


def get(name: str) -> str:
    """The value of the environment variable `name`, or its default where it is unset or empty."""
    return os.environ.get(name) or DEFAULTS[name]


def for_resource(name: str) -> str:
    """The same for a field of a Dagster resource: an `EnvVar` where the variable is set.

    An `EnvVar` is read when a run starts and shown by its name in the UI.
    """
    return EnvVar(name) if os.environ.get(name) else DEFAULTS[name]


def start_date() -> date:
    """The first day of the first month to load. Raises ValueError naming the variable."""
    return _first_of_month(START_DATE, get(START_DATE))


def end_date() -> date | None:
    """The day after the last month to load; None while new months keep coming."""
    value = get(END_DATE)
    return _first_of_month(END_DATE, value) if value else None


def _first_of_month(name: str, value: str) -> date:
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}; expected a date such as 2023-01-01") from None
    if day.day != 1:
        raise ValueError(f"{name} is {value!r}; expected the first day of a month")
    return day


def locate(path_or_url: str) -> str:
    """An address as given, or an absolute path: a relative one starts at the monorepo's root.

    Code servers start in folders of their own; a relative path must mean the same in all of them.
    """
    if "://" in path_or_url:
        return path_or_url
    return str((_monorepo_root() / Path(path_or_url).expanduser()).resolve())


def _monorepo_root() -> Path:
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "workspace.yaml").is_file()), here)
