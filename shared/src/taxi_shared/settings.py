"""The platform's settings: environment variables with types and defaults.

`load()` reads them; nothing else in the project reads these variables. `TAXI_ENVIRONMENT` chooses
the defaults (one machine, tests, or production), and a variable that is set always wins. An empty
variable counts as unset. `.env.example` explains every variable.

Importable without Dagster, which the report portal does not load.
"""

import os
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from taxi_shared import machine
from taxi_shared.addresses import without_secrets
from taxi_shared.services import GREEN, YELLOW
from taxi_shared.services import NAMES as SERVICE_NAMES
from taxi_shared.web import LOOPBACK_HOSTS, allowed_hosts

# As long as the logs of tables name replaced files, see `taxi_shared.table_log`.
MAX_LAKE_RETENTION_DAYS = 365
Environment = Literal["local", "test", "production"]
# Defaults by field where an environment differs from the class below; None: must be set.
_DEFAULTS: Mapping[str, Mapping[str, str | None]] = {
    "test": {
        "data_root": "data/test",
        "source_url": "data/test/source",
        "zones_url": "data/test/source/misc/taxi_zones.csv",
        "follow_tlc": "off",
    },
    "production": {"data_root": None},
}


def _first_of_month(value: str) -> date:
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a date such as 2023-01-01") from None
    if day.day != 1:
        raise ValueError("expected the first day of a month")
    return day


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _service_names(value: str) -> tuple[str, ...]:
    chosen = _names(value)
    if not chosen or not set(chosen) <= set(SERVICE_NAMES):
        raise ValueError(f"expected one or more of {', '.join(SERVICE_NAMES)}, with commas between")
    return tuple(name for name in SERVICE_NAMES if name in chosen)


FirstOfMonth = Annotated[date, BeforeValidator(_first_of_month)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
ServiceNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_service_names)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(allowed_hosts)]

# What pydantic accepts, by the type of its error; its own texts are for programmers.
_ACCEPTED = {
    "bool_parsing": "on or off",
    "float_parsing": "a number such as 9.4",
    "greater_than": "a whole number above 0, as in 100",
    "greater_than_equal": "a number of at least 0",
    "int_parsing": "a whole number above 0, as in 100",
}


class Settings(BaseSettings):
    """All settings; the variable of a field is `TAXI_` and its name, unless it has an alias."""

    model_config = SettingsConfigDict(
        env_prefix="TAXI_",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        validate_default=False,
    )

    environment: Environment = Field(default="local", description="which defaults apply")
    data_root: str = Field(
        default="data",
        description="folder, or s3://, gs://, az:// or abfss:// address, of all files",
    )
    duckdb_database: str = Field(
        default="",
        validation_alias="DUCKDB_DATABASE",
        description="DuckDB file with views of the lake, for people",
    )
    source_url: str = Field(
        default="https://d37ci6vzurychx.cloudfront.net",
        validation_alias="TLC_SOURCE_URL",
        description="address or folder of TLC's files",
    )
    source_token: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="TLC_SOURCE_TOKEN",
        description="bearer token of the source",
    )
    zones_url: str = Field(
        default="https://community-engineering-artifacts.s3.us-west-2.amazonaws.com"
        "/dagster-university/data/taxi_zones.csv",
        description="address or path of the taxi zones' CSV",
    )
    # TLC's largest files have less than 700 MB, which take half an hour at 3 Mbit/s.
    download_max_mb: PositiveInt = Field(
        default=2000, description="largest month to download, in MB"
    )
    download_max_seconds: PositiveInt = Field(
        default=3600, description="longest download of a file"
    )
    download_min_kb_per_second: NonNegativeFloat = Field(
        default=10, description="slowest download of a file over a minute, in kB/s"
    )
    # The published CSV has 4 MB, and is read into memory.
    zones_max_mb: PositiveInt = Field(default=100, description="largest file of zones, in MB")
    start_date: FirstOfMonth = Field(
        default=date(2023, 1, 1), description="first day of the first month"
    )
    end_date: FirstOfMonth | None = Field(
        default=None, description="day after the last month; None while new months keep coming"
    )
    services: ServiceNames = Field(
        default=(YELLOW.name, GREEN.name), description="services of TLC whose trips are loaded"
    )
    follow_tlc: bool = Field(
        default=True, description="load months when TLC publishes or replaces them"
    )
    months_per_run: PositiveInt | None = Field(
        default=None, description="most months in a run of a backfill; None for one run"
    )
    duckdb_memory: str = Field(
        default_factory=machine.duckdb_memory,
        description="memory of DuckDB before it spills to disk",
    )
    duckdb_spill: str = Field(default="50GB", description="disk of DuckDB for what it spills")
    engine: str = Field(
        default="duckdb",
        description="engine of the metrics: duckdb, or another one of all or some assets",
    )
    databricks_token: SecretStr = Field(
        default=SecretStr(""), description="token of Databricks, if it is an engine"
    )
    lake_retention_days: PositiveInt = Field(
        default=7,
        le=MAX_LAKE_RETENTION_DAYS,
        description="days that files stay after a load has replaced them, "
        f"{MAX_LAKE_RETENTION_DAYS} at most",
    )
    request_watch_seconds: NonNegativeFloat = Field(
        default=0, description="how long a tick of the request sensor watches an unchanged folder"
    )
    keep_outputs: bool = Field(
        default=False, description="keep a report when its request is deleted"
    )
    keep_request_runs_days: PositiveFloat = Field(
        default=30, description="days that runs of requests stay; reports stay"
    )
    chart_lambda: str = Field(
        default="", description="AWS Lambda function that draws charts of reports as SVG"
    )
    chart_ecs_task: str = Field(default="", description="task definition of ECS that draws them")
    chart_ecs_options: str = Field(
        default="{}", description="further arguments of RunTask, as a JSON object"
    )
    code_url: str = Field(default="", description="repository that the assets' pages link to")
    code_revision: str = Field(default="main", description="its branch or tag")
    s3_secret: str = Field(default="", description="AWS secret with the keys of S3")
    aws_region: str = Field(default="", validation_alias="AWS_REGION", description="region of S3")
    secrets: str = Field(
        default="",
        description="secret of AWS, or of Google as in gcp:projects/p/secrets/s, with the secrets "
        "that are not variables",
    )
    log_format: Literal["text", "json", "emf"] = Field(
        default="text", description="lines of JSON for the events of runs, emf: with metrics"
    )
    alerts: Names = Field(default=(), description="webhook, email and log, or some of them")
    alert_webhook: SecretStr = Field(default=SecretStr(""), description="address of the webhook")
    alert_smtp: str = Field(
        default="", description="mail server, as in smtp://me@mail.example.org:587"
    )
    alert_smtp_password: SecretStr = Field(default=SecretStr(""), description="its password")
    alert_email: str = Field(default="", description="receivers, separated by commas")
    alert_sender: str = Field(default="", description="sender; the first receiver where empty")
    ui_url: str = Field(default="", description="address of the UI in alerts and `make status`")
    dagster_public_url: str = Field(
        default="", validation_alias="DAGSTER_PUBLIC_URL", description="the webserver, for browsers"
    )
    ui_hosts: Hosts = Field(
        default=LOOPBACK_HOSTS, description="names by which browsers may reach the UI"
    )
    portal_hosts: Hosts = Field(
        default=LOOPBACK_HOSTS, description="names by which browsers may reach the portal"
    )
    portal_path: str = Field(
        default="", description="path of the portal behind a proxy, as in /taxi"
    )

    @classmethod
    def settings_customise_sources(  # noqa: PLR0913, PLR0917 - the signature of pydantic-settings
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the defaults of TAXI_ENVIRONMENT."""
        defaults = _DEFAULTS.get(os.environ.get("TAXI_ENVIRONMENT", ""), {})
        return env_settings, InitSettingsSource(settings_cls, dict(defaults))


def load() -> Settings:
    """The settings as the environment has them now.

    Raises ValueError that names each wrong variable, its value and what is accepted.
    """
    return _load(tuple(map(os.environ.get, _VARIABLES)))


def variable(field: str) -> str:
    """The environment variable of a field: `TAXI_DATA_ROOT` of `data_root`."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"TAXI_{field.upper()}"


def for_resource(field: str) -> str:
    """The value of a field for a Dagster resource: an `EnvVar` where its variable is set.

    A run reads an `EnvVar` when it starts, and the UI shows its name instead of its value.
    """
    from dagster import EnvVar

    name = variable(field)
    return EnvVar(name) if os.environ.get(name) else str(getattr(load(), field))


_VARIABLES = tuple(map(variable, Settings.model_fields))


@lru_cache(maxsize=1)
def _load(values: tuple[str | None, ...]) -> Settings:
    """Read the settings again only where `values`, those of all variables, have changed."""
    try:
        return Settings()
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors(include_url=False)]
        raise ValueError("\n".join(problems)) from None


def _problem(error: Any) -> str:
    name, value = str(error["loc"][0]), error["input"]
    name = variable(name) if name in Settings.model_fields else name
    if value is None:
        return f"{name} is not set; TAXI_ENVIRONMENT=production has no default for it"
    if "error" in (context := error.get("ctx", {})):
        accepted = str(context["error"])
    else:
        accepted = f"expected {_ACCEPTED.get(error['type'], context.get('expected'))}"
    return f"{name} is {without_secrets(str(value))!r}; {accepted}"


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
        raise ValueError(f"{url!r} is not a path of this machine; expected file:///srv/data")
    return unquote(slash + path)


def _monorepo_root() -> Path:
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "workspace.yaml").is_file()), here)
