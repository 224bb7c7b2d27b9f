"""The reporting location's resources: the lake's `database`, and the engine of reports."""

from typing import Any

import dagster as dg

from taxi_shared.database import lake_database
from taxi_shared.engines.choice import engines_of


def resources() -> dict[str, dg.ConfigurableResource[Any]]:
    """The location's resources, configured by the environment."""
    database = lake_database()
    return {"database": database, **engines_of(database, "adhoc_request")}
