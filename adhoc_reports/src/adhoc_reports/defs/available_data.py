"""The catalog of the data that requests can ask for, and the sensor that keeps it current."""

import dagster as dg

from adhoc_reports.lib import catalog
from taxi_shared import keys, settings
from taxi_shared.automation import automation_sensor, eager_on_new_months
from taxi_shared.database import LakeDatabase
from taxi_shared.services import SERVICES

TRIPS = tuple(
    service.table_asset for service in SERVICES if service.name in settings.load().services
)
"""The trips of all services that the platform loads."""

adhoc_reports_automation_sensor = automation_sensor("adhoc_reports", interval_seconds=10)


@dg.asset(
    key=keys.AVAILABLE_DATA,
    deps=[
        *(dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping()) for key in TRIPS),
        keys.TAXI_ZONES,
    ],
    # A month of any service is enough.
    automation_condition=eager_on_new_months(dg.AssetSelection.assets(*TRIPS)),
    group_name=keys.REQUESTS,
    kinds={"duckdb", "json"},
)
def available_data(database: LakeDatabase) -> dg.MaterializeResult[None]:
    """Months and zones that requests can ask for, in a file for the report portal.

    The file is `outputs/catalog/available_data.json`.
    """
    lake = database.lake.snapshot()
    with database.get_connection(tables=catalog.TABLES, snapshot=lake) as con:
        found = catalog.query_catalog(con, lake)
    catalog.write_catalog(lake.root, found)
    return dg.MaterializeResult(
        metadata={
            "months": len(found.all_months),
            "zones": sum(map(len, found.zones.values())),
            "catalog": dg.MetadataValue.path(str(catalog.catalog_path(lake.root))),
        }
    )
