"""Config of a run that reads older trips."""

import dagster as dg
from pydantic import Field

from taxi_shared.lake import Lake, Snapshot
from taxi_shared.tables import Table


class AsOfConfig(dg.Config):
    """Which version of the trips an asset is computed from."""

    trips_version: int | None = Field(
        default=None,
        description="Version of the table of trips that is read, as `make history` lists them; the "
        "current one by default.",
    )

    def snapshot(self, lake: Lake, trips: Table) -> Snapshot:
        """The lake with a table of trips as of that version."""
        return lake.snapshot(None if self.trips_version is None else (trips, self.trips_version))
