"""Which engine answers the questions of an asset: `TAXI_ENGINE`, and settings of each engine.

`TAXI_ENGINE=spark-submit` is for all assets, `trips_by_week=athena,adhoc_request=spark-submit` for
some, while DuckDB answers the others. All locations have the same variable, so each accepts the
names in `ASSETS`, also those of others. The settings of an engine are the fields of its class:
`TAXI_SPARK_SUBMIT_MASTER` is the field `master` of `spark-submit`.
"""

import os
from importlib import import_module

import dagster as dg

from taxi_shared import settings, stores
from taxi_shared.addresses import without_secrets
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine

# The assets that ask, of all locations. One of another repository is set for its location alone.
ASSETS = ("trips_by_week", "manhattan_stats", "adhoc_request")
DUCKDB = "duckdb"
# The modules are imported when they are chosen: some need packages that no location has.
ENGINES: dict[str, str] = {
    DUCKDB: "local.DuckDB",
    "spark-submit": "spark.SparkSubmit",
    "emr-serverless": "spark_services.EmrServerless",
    "emr": "spark_services.Emr",
    "glue": "spark_services.Glue",
    "dataproc": "spark_services.Dataproc",
    "databricks": "spark_services.Databricks",
    "athena": "athena.Athena",
    "bigquery": "warehouses.BigQuery",
    "redshift": "warehouses.Redshift",
    "snowflake": "warehouses.Snowflake",
}


def engines_of(database: LakeDatabase, *assets: str) -> dict[str, Engine]:
    """Return the engine of each asset, as the resource `<asset>_engine`.

    Raises ValueError for an asset or engine that does not exist, and for an engine that lacks a
    setting.
    """
    accepted = dict.fromkeys([*assets, *ASSETS])
    if unknown := [each for each in _chosen() if each and each not in accepted]:
        raise ValueError(
            f"TAXI_ENGINE names the asset {unknown[0]!r}; expected one of {', '.join(accepted)}"
        )
    return {f"{asset}_engine": engine(name_of(asset), database) for asset in assets}


def name_of(asset: str) -> str:
    """Return the name of the engine that answers the questions of an asset."""
    chosen = _chosen()
    return chosen.get(asset) or chosen.get("") or DUCKDB


def kind_of(asset: str) -> str:
    """Return the kind of an asset that asks, for the UI: duckdb, spark, athena.

    Raises ValueError for an engine that does not exist.
    """
    return engine_class(name_of(asset)).kind()


def engine(name: str, database: LakeDatabase) -> Engine:
    """Return an engine by its name, configured by the environment.

    Raises ValueError for a data root in a store that it does not read, and for missing settings,
    each of which it names.
    """
    found = engine_class(name)
    root = settings.load().data_root
    if stores.module_of(root) not in found.stores:
        read = " or ".join(text for each, text in stores.EXAMPLES.items() if each in found.stores)
        raise ValueError(
            f"TAXI_ENGINE is {name}, and TAXI_DATA_ROOT is {without_secrets(root)!r}, which it "
            f"does not read; expected {read}. Set TAXI_ENGINE=duckdb, or move the data root"
        )
    variables = {variable(name, field): field for field in settings_of(name)}
    given = {field: dg.EnvVar(each) for each, field in variables.items() if os.environ.get(each)}
    missing = [
        f"{each} is not set: {info.description}"
        for each, field in variables.items()
        if (info := found.model_fields[field]).is_required() and field not in given
    ]
    if missing:
        raise ValueError(f"TAXI_ENGINE is {name}. " + "\n".join(missing))
    return found(database=database, **given)  # a run reads the variables when it starts


def engine_class(name: str) -> type[Engine]:
    """Return the class of an engine. Raises ValueError for an unknown one."""
    if name not in ENGINES:
        raise ValueError(f"TAXI_ENGINE names {name!r}; expected one of {', '.join(ENGINES)}")
    module, _, kind = ENGINES[name].rpartition(".")
    found: type[Engine] = getattr(import_module(f"taxi_shared.engines.{module}"), kind)
    return found


def settings_of(name: str) -> list[str]:
    """Return the fields of an engine that the environment sets: those with a description."""
    return [field for field, info in engine_class(name).model_fields.items() if info.description]


def variable(name: str, field: str) -> str:
    """The environment variable of a field of an engine."""
    return f"TAXI_{name}_{field}".upper().replace("-", "_")


def _chosen() -> dict[str, str]:
    """Engines by assets; that of "" is for all others."""
    chosen = {}
    for part in filter(None, map(str.strip, settings.load().engine.split(","))):
        asset, _, name = part.rpartition("=")
        chosen[asset.strip()] = name.strip()
    return chosen
