"""The environment the platform runs in. But for `secrets`, nothing else reads its variables.

TAXI_ENVIRONMENT chooses the defaults: those of one machine, of a test, or of production. What is
set by itself is taken as it is. `.env.example` lists all settings.
"""

import os
from datetime import date
from pathlib import Path
from urllib.parse import unquote

ENVIRONMENT = "TAXI_ENVIRONMENT"
DATA_ROOT = "TAXI_DATA_ROOT"
DUCKDB_DATABASE = "DUCKDB_DATABASE"
SOURCE_URL = "TLC_SOURCE_URL"
ZONES_URL = "TAXI_ZONES_URL"
DOWNLOAD_MAX_MB = "TAXI_DOWNLOAD_MAX_MB"
DOWNLOAD_MAX_SECONDS = "TAXI_DOWNLOAD_MAX_SECONDS"
ZONES_MAX_MB = "TAXI_ZONES_MAX_MB"
START_DATE = "TAXI_START_DATE"
END_DATE = "TAXI_END_DATE"
FOLLOW_TLC = "TAXI_FOLLOW_TLC"
MEMORY_LIMIT = "TAXI_DUCKDB_MEMORY"
SPILL_LIMIT = "TAXI_DUCKDB_SPILL"
REQUEST_WATCH_SECONDS = "TAXI_REQUEST_WATCH_SECONDS"
CODE_URL = "TAXI_CODE_URL"
CODE_REVISION = "TAXI_CODE_REVISION"
S3_SECRET = "TAXI_S3_SECRET"
REGION = "AWS_REGION"
ALERTS = "TAXI_ALERTS"
ALERT_EMAIL = "TAXI_ALERT_EMAIL"
ALERT_SENDER = "TAXI_ALERT_SENDER"
ALERT_SMTP = "TAXI_ALERT_SMTP"
UI_URL = "TAXI_UI_URL"
SECRETS = "TAXI_SECRETS"
DAGSTER_URL = "DAGSTER_URL"
DAGSTER_PUBLIC_URL = "DAGSTER_PUBLIC_URL"
UI_HOSTS = "TAXI_UI_HOSTS"
PORTAL_HOSTS = "TAXI_PORTAL_HOSTS"
PORTAL_PATH = "TAXI_PORTAL_PATH"

# Read by `secrets.secret`.
SOURCE_TOKEN = "TLC_SOURCE_TOKEN"
ALERT_WEBHOOK = "TAXI_ALERT_WEBHOOK"
ALERT_SMTP_PASSWORD = "TAXI_ALERT_SMTP_PASSWORD"

DEFAULTS = {
    DATA_ROOT: "data",
    DUCKDB_DATABASE: "",
    SOURCE_URL: "https://d37ci6vzurychx.cloudfront.net",
    ZONES_URL: "https://community-engineering-artifacts.s3.us-west-2.amazonaws.com"
    "/dagster-university/data/taxi_zones.csv",
    # TLC's largest files have less than 700 MB, which take half an hour at 3 Mbit/s.
    DOWNLOAD_MAX_MB: "2000",
    DOWNLOAD_MAX_SECONDS: "3600",
    # The published CSV has 4 MB, and is read into memory.
    ZONES_MAX_MB: "100",
    START_DATE: "2023-01-01",
    END_DATE: "",
    FOLLOW_TLC: "on",
    MEMORY_LIMIT: "400MB",
    SPILL_LIMIT: "50GB",
    REQUEST_WATCH_SECONDS: "0",
    CODE_URL: "",
    CODE_REVISION: "main",
    S3_SECRET: "",
    REGION: "",
    ALERTS: "",
    ALERT_EMAIL: "",
    ALERT_SENDER: "",
    ALERT_SMTP: "",
    UI_URL: "",
    SECRETS: "",
    DAGSTER_URL: "http://127.0.0.1:3000",
    DAGSTER_PUBLIC_URL: "",
    UI_HOSTS: "",
    PORTAL_HOSTS: "",
    PORTAL_PATH: "",
}
LOCAL, TEST, PRODUCTION = "local", "test", "production"
# What each environment has instead of DEFAULTS; None: it must be set.
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    LOCAL: {},
    TEST: {
        DATA_ROOT: "data/test",
        SOURCE_URL: "data/test/source",
        ZONES_URL: "data/test/source/misc/taxi_zones.csv",
        FOLLOW_TLC: "off",
    },
    PRODUCTION: {DATA_ROOT: None, MEMORY_LIMIT: "2GB"},
}


def get(name: str) -> str:
    """The value of the environment variable `name`, or its default where it is unset or empty.

    Raises ValueError for a variable without a default in this environment.
    """
    return os.environ.get(name) or _default(name)


def for_resource(name: str) -> str:
    """The same for a field of a Dagster resource: an `EnvVar` where the variable is set.

    An `EnvVar` is read when a run starts and shown by its name in the UI.
    """
    # Imported here: the report portal reads settings, and has no Dagster.
    from dagster import EnvVar

    return EnvVar(name) if os.environ.get(name) else _default(name)


def is_on(name: str) -> bool:
    """Whether a setting is `on`. Raises ValueError naming it where it is not `off` either."""
    value = get(name)
    if value not in ("on", "off"):
        raise ValueError(f"{name} is {value!r}; expected on or off")
    return value == "on"


def positive(name: str) -> int:
    """A setting that is a number. Raises ValueError naming it where it is no number above 0."""
    value = get(name)
    if not value.isdecimal() or int(value) == 0:
        raise ValueError(f"{name} is {value!r}; expected a whole number above 0, as in 100")
    return int(value)


def start_date() -> date:
    """The first day of the first month to load. Raises ValueError naming the variable."""
    return _first_of_month(START_DATE, get(START_DATE))


def end_date() -> date | None:
    """The day after the last month to load; None while new months keep coming."""
    value = get(END_DATE)
    return _first_of_month(END_DATE, value) if value else None


def _default(name: str) -> str:
    environment = os.environ.get(ENVIRONMENT) or LOCAL
    if environment not in ENVIRONMENTS:
        raise ValueError(f"{ENVIRONMENT} is {environment!r}; expected {', '.join(ENVIRONMENTS)}")
    value = ENVIRONMENTS[environment].get(name, DEFAULTS[name])
    if value is None:
        raise ValueError(f"{name} is not set; {ENVIRONMENT}={environment} has no default for it")
    return value


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
    The address `file:///a%20folder` is the path `/a folder`. Raises ValueError for a `file://`
    address of another machine and for the home of a user that does not exist.
    """
    if path_or_url.lower().startswith("file://"):
        path_or_url = _path_of_file_url(path_or_url)
    elif "://" in path_or_url:
        return path_or_url
    try:
        path = Path(path_or_url).expanduser()
    except RuntimeError:
        raise ValueError(f"{path_or_url!r} begins with a user who has no home folder") from None
    return str((path if path.is_absolute() else _monorepo_root() / path).resolve())


def _path_of_file_url(url: str) -> str:
    host, slash, path = url[len("file://") :].partition("/")
    if host not in ("", "localhost") or not slash:
        raise ValueError(f"{url!r} is no path of this machine; expected one as in file:///srv/data")
    return unquote(slash + path)


def _monorepo_root() -> Path:
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "workspace.yaml").is_file()), here)
