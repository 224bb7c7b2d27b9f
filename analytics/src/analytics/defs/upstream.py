"""Assets of the ingestion team that this location's follow.

Conditions are evaluated in this location's code server, which knows of other locations what is
written here: what there is to follow, and its partitions.
"""

import dagster as dg

from taxi_shared import keys
from taxi_shared.partitions import monthly

taxi_trips = dg.AssetSpec(keys.TAXI_TRIPS, partitions_def=monthly())
taxi_zones = dg.AssetSpec(keys.TAXI_ZONES)
