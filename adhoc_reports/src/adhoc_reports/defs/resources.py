"""The reporting location's resource: the lake's `database`."""

from typing import Any

import dagster as dg

from taxi_shared.database import lake_database


def resources() -> dict[str, dg.ConfigurableResource[Any]]:
    """The location's resources, configured by the environment."""
    return {"database": lake_database()}
