"""Manhattan's trips by zone, and their map.

Both are materialized again when months or zones change.
"""

from importlib.resources import files

import dagster as dg

from analytics.lib import period, zone_map, zones
from taxi_shared import keys
from taxi_shared.automation import eager_on_new_data, eager_on_new_months
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, Question
from taxi_shared.engines.choice import kind_of
from taxi_shared.io_managers import Figure, GeoDataFrame
from taxi_shared.lake import Snapshot
from taxi_shared.lineage import column_lineage
from taxi_shared.provenance import SYNTHETIC, source_line
from taxi_shared.tables import TRIPS, ZONES
from taxi_shared.versions import code_version, source_of

QUERY = (files("analytics") / "sql" / "manhattan_stats.sql").read_text()
BOROUGH = "Manhattan"
POOL = "manhattan"  # a map shows the statistics of the same run

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
    deps=[
        dg.AssetDep(keys.TAXI_TRIPS, partition_mapping=dg.AllPartitionMapping()),
        keys.TAXI_ZONES,
    ],
    io_manager_key="geojson",
    code_version=code_version(
        source_of(__file__, "BOROUGH", "manhattan_stats", "_question", "_find_publishers"),
        period,
        zones,
        QUERY,
    ),
    automation_condition=eager_on_new_months(),
    pool=POOL,
    group_name=keys.METRICS,
    kinds={kind_of("manhattan_stats"), "geojson"},
    metadata={"dagster/column_schema": SCHEMA, "dagster/column_lineage": LINEAGE},
)
def manhattan_stats(
    context: dg.AssetExecutionContext,
    database: LakeDatabase,
    manhattan_stats_engine: dg.ResourceParam[Engine],
) -> dg.Output[GeoDataFrame]:
    """Trips by zone of pickup in Manhattan, all months together, with the shape of each zone.

    `attrs` has the period and the source of the trips; they are members of the GeoJSON too.
    """
    lake = database.lake.snapshot()
    answer = manhattan_stats_engine.ask(context, _question(lake))
    if not answer.rows:
        raise dg.Failure(
            f"table zones in {database.data_root} has no zone of {BOROUGH}: "
            "materialize taxi_zones first"
        )
    stats = zones.merge_by_name(answer.rows)
    stats.attrs = {
        "period": period.describe_period(lake.files(TRIPS)),
        "source": source_line(_find_publishers(database, lake)),
    }
    return dg.Output(stats, metadata=answer.details)


def _question(lake: Snapshot) -> Question[zones.ZoneTrips]:
    """The trips of each zone of the borough."""
    return Question(
        "manhattan_stats", QUERY, zones.ZoneTrips, lake, [TRIPS, ZONES], {"borough": BOROUGH}
    )


@dg.asset(
    key=keys.MANHATTAN_MAP,
    io_manager_key="png",
    code_version=code_version(source_of(__file__, "manhattan_map"), zone_map),
    automation_condition=eager_on_new_data(),
    pool=POOL,
    group_name=keys.METRICS,
    kinds={"matplotlib", "png"},
)
def manhattan_map(manhattan_stats: GeoDataFrame) -> Figure:
    """Map of Manhattan's trips by zone of pickup: `outputs/manhattan_map.png`."""
    period_covered = manhattan_stats.attrs.get("period", "period not recorded")
    source = manhattan_stats.attrs.get("source", source_line([]))
    kind = ["Synthetic sample data"] if SYNTHETIC in source else []
    figure, axes = zone_map.create_map()
    colours = zone_map.colour_zones(axes, manhattan_stats)
    zone_map.add_colour_bar(axes, colours)
    zone_map.list_busiest_zones(axes, manhattan_stats)
    zone_map.add_scale_bar(axes)
    zone_map.add_title(
        figure,
        "Yellow taxi trips in Manhattan",
        [*kind, period_covered],
        zone_map.count_trips(manhattan_stats),
        zone_map.count_trips_not_drawn(manhattan_stats),
    )
    zone_map.add_source(figure, source)
    return figure


def _find_publishers(database: LakeDatabase, lake: Snapshot) -> set[str]:
    """Who published the trips; and that the zones are synthetic, where they are."""
    with database.get_connection(tables=[], snapshot=lake) as con:
        return {*lake.publishers(con, TRIPS), *({SYNTHETIC} & set(lake.publishers(con, ZONES)))}
