"""Manhattan's trips by zone, and their map.

Both are updated automatically when months or zones change.
"""

from importlib.resources import files

import dagster as dg
import duckdb

from analytics.lib import period, zone_map, zones
from analytics.lib.frames import Figure, GeoDataFrame
from taxi_shared import keys
from taxi_shared.automation import eager_on_new_data, eager_on_new_months
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.lineage import column_lineage
from taxi_shared.provenance import SYNTHETIC, source_line
from taxi_shared.tables import TRIPS, ZONES
from taxi_shared.versions import code_version, function_in

QUERY = (files("analytics") / "sql" / "manhattan_stats.sql").read_text()
BOROUGH = "Manhattan"
PERIOD, SOURCE = "period", "source"  # keys of the statistics' `attrs`
POOL = "manhattan"  # a map shows the statistics of its own run

SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("zone", "VARCHAR", "Name of the zone."),
        dg.TableColumn("borough", "VARCHAR", "Manhattan."),
        dg.TableColumn("geometry", "GEOMETRY", "Shape in longitude and latitude (WGS 84)."),
        dg.TableColumn("num_trips", "BIGINT", "Trips picked up in the zone, in all months."),
    ]
)
LINEAGE = column_lineage(
    {
        "zone": [(keys.TAXI_ZONES, "zone")],
        "borough": [(keys.TAXI_ZONES, "borough")],
        "geometry": [(keys.TAXI_ZONES, "geometry")],
        "num_trips": [(keys.TAXI_TRIPS, "pickup_zone_id"), (keys.TAXI_ZONES, "zone_id")],
    }
)


@dg.asset(
    key=keys.MANHATTAN_STATS,
    ins={
        "taxi_zones": dg.AssetIn(
            keys.TAXI_ZONES, input_manager_key="lake_shapes", metadata={"table": "zones"}
        )
    },
    deps=[dg.AssetDep(keys.TAXI_TRIPS, partition_mapping=dg.AllPartitionMapping())],
    io_manager_key="geojson",
    code_version=code_version(
        function_in(__file__, "BOROUGH", "manhattan_stats", "_publishers"), period, zones, QUERY
    ),
    automation_condition=eager_on_new_months(),
    pool=POOL,
    group_name=keys.METRICS,
    kinds={"duckdb", "geojson"},
    metadata={"dagster/column_schema": SCHEMA, "dagster/column_lineage": LINEAGE},
)
def manhattan_stats(taxi_zones: GeoDataFrame, database: LakeDatabase) -> GeoDataFrame:
    """Trips by zone of pickup in Manhattan, all months together, with the shape of each zone.

    `attrs` has the period and the source of the trips; they are members of the GeoJSON as well.
    """
    with database.get_connection(tables=[TRIPS]) as con:
        trips = dict(con.execute(QUERY).fetchall())
        publishers = _publishers(con, database.lake)
    stats = zones.trips_by_zone(taxi_zones, trips, BOROUGH)
    stats.attrs = {
        PERIOD: period.describe_period(database.lake.versions(TRIPS)),
        SOURCE: source_line(publishers),
    }
    return stats


def _publishers(con: duckdb.DuckDBPyConnection, lake: Lake) -> set[str]:
    """Who published the trips; and that the zones are synthetic, where they are."""
    return {*lake.publishers(con, TRIPS), *({SYNTHETIC} & set(lake.publishers(con, ZONES)))}


@dg.asset(
    key=keys.MANHATTAN_MAP,
    io_manager_key="png",
    code_version=code_version(function_in(__file__, "manhattan_map"), zone_map),
    automation_condition=eager_on_new_data(),
    pool=POOL,
    group_name=keys.METRICS,
    kinds={"matplotlib", "png"},
)
def manhattan_map(manhattan_stats: GeoDataFrame) -> Figure:
    """Map of Manhattan's trips by zone of pickup: `outputs/manhattan_map.png`."""
    return zone_map.draw(
        manhattan_stats,
        "Yellow taxi trips in Manhattan",
        period=manhattan_stats.attrs.get(PERIOD, "period not recorded"),
        source=manhattan_stats.attrs.get(SOURCE, source_line([])),
        is_synthetic=SYNTHETIC in manhattan_stats.attrs.get(SOURCE, ""),
    )
