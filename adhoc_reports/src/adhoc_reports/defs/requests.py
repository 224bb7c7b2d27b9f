"""The answer to a request: a chart and its numbers."""

import base64
import time

import dagster as dg

from adhoc_reports.lib import chart, outputs
from adhoc_reports.lib.pickups import count_pickups, remark
from adhoc_reports.lib.request import Request
from taxi_shared import keys, storage
from taxi_shared.database import LakeDatabase


class AdhocRequestConfig(Request, dg.Config):
    """A request, from a file by way of the sensor, or filled in by hand in the launchpad."""


@dg.asset(
    key=keys.ADHOC_REQUEST,
    deps=[keys.TAXI_TRIPS, keys.TAXI_ZONES],
    group_name=keys.REQUESTS,
    kinds={"duckdb", "matplotlib"},
)
def adhoc_request(
    context: dg.AssetExecutionContext, config: AdhocRequestConfig, database: LakeDatabase
) -> dg.MaterializeResult[None]:
    """Taxi pickups in a borough and period by hour of day and day of week, as somebody asked for:
    the chart `outputs/<name>.png` and its numbers `outputs/<name>.csv`."""
    begin = time.perf_counter()
    root = database.lake.root
    with database.get_connection(config.dates) as con:
        pickups = count_pickups(con, config)
        note = remark(con, config)
    if note:
        context.log.warning(f"{note} Materialize taxi_trips and taxi_zones, then this again.")
    png = chart.to_png(chart.draw(pickups, config, note))
    chart_file = outputs.chart_path(root, config.name)
    numbers_file = outputs.numbers_path(root, config.name)
    numbers = pickups.to_csv()
    storage.write_text(numbers_file, numbers)
    storage.write_bytes(chart_file, png)
    outputs.withdraw_error(root, config.filename)
    context.log.info(f"{config.name}: {pickups.total:,} trips, {chart_file}")
    return dg.MaterializeResult(
        metadata={
            "chart": dg.MetadataValue.md(
                f"![Chart](data:image/png;base64,{base64.b64encode(png).decode()})"
            ),
            "numbers": dg.MetadataValue.md(pickups.to_markdown()),
            "chart file": dg.MetadataValue.path(str(chart_file)),
            "numbers file": dg.MetadataValue.path(str(numbers_file)),
            "num_trips": pickups.total,
            "dagster/row_count": len(pickups.by_hour),
            "bytes": len(png) + len(numbers),
            "remark": note or "None.",
            "seconds": round(time.perf_counter() - begin, 3),
        }
    )
