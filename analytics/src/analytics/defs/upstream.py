"""Stubs of the ingestion team's assets that this location depends on.

The automation sensor runs in this location's process, which knows the assets of other locations,
and their partitions, only by these specs.
"""

import dagster as dg

from taxi_shared import keys
from taxi_shared.partitions import monthly

taxi_trips = dg.AssetSpec(keys.TAXI_TRIPS, partitions_def=monthly())
taxi_zones = dg.AssetSpec(keys.TAXI_ZONES)
