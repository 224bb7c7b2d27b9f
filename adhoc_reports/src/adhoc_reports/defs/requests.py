"""The answer to a request: a chart and its numbers."""

import base64
import time

import dagster as dg

from adhoc_reports.lib import chart, outputs, pickups, report
from adhoc_reports.lib.failure import record_failure
from adhoc_reports.lib.pickups import count_pickups, remark, unknown_zone
from adhoc_reports.lib.report import Report, at_moment, to_basis, trips_of_days
from adhoc_reports.lib.request import NewRequest, Request
from taxi_shared import keys, provenance, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS
from taxi_shared.versions import code_version, function_in


class AdhocRequestConfig(NewRequest, dg.Config):
    """A request, from a file by way of the sensor, or filled in by hand in the launchpad."""


@dg.asset(
    key=keys.ADHOC_REQUEST,
    deps=[keys.TAXI_TRIPS, keys.TAXI_ZONES],
    code_version=code_version(
        function_in(__file__, "adhoc_request"),
        chart,
        pickups,
        pickups.QUERY,
        report,
        report.QUERY,
    ),
    group_name=keys.REQUESTS,
    kinds={"duckdb", "matplotlib"},
)
def adhoc_request(
    context: dg.AssetExecutionContext, config: AdhocRequestConfig, database: LakeDatabase
) -> dg.MaterializeResult[None]:
    """Yellow taxi pickups in an area and period by hour of day and day of week, as a request asks:
    the chart of averages `outputs/<name>.png`, the totals `outputs/<name>.csv`, and both with the
    data that they are computed from as `outputs/<name>.report.json`."""
    begin = time.perf_counter()
    lake = database.lake
    root = lake.root
    run_key = context.run.tags.get("dagster/run_key", "")
    with record_failure(root, config, run_key, context.run.run_id):
        with database.get_connection(config.dates) as con:
            if problem := unknown_zone(con, config):
                outputs.report_error(root, config.filename, problem, run_key)
                raise dg.Failure(problem, allow_retries=False)
            days = trips_of_days(con, config)
            # Before counting: a month that is replaced meanwhile is newer than the numbers.
            loaded = {
                month: at_moment(lake.file(TRIPS, month.isoformat()).stat().st_mtime)
                for month, *_ in days
            }
            months = [month.isoformat() for month in loaded]
            publishers = tuple(lake.publishers(con, TRIPS, months))
            pickups = count_pickups(con, config)
            note = remark(con, config)
        if note:
            context.log.warning(f"{note} Materialize taxi_trips and taxi_zones, then this again.")
        png = chart.to_png(chart.draw(pickups, config, note, publishers))
        chart_file = outputs.chart_path(root, config.name)
        numbers_file = outputs.numbers_path(root, config.name)
        numbers = pickups.to_csv()
        storage.write_text(numbers_file, numbers)
        storage.write_bytes(chart_file, png)
        report = Report(
            request=Request.model_validate(config.model_dump()),
            made=at_moment(time.time()),
            run_id=context.run.run_id,
            run_key=run_key,
            by_hour=pickups.by_hour,
            remark=note,
            basis=to_basis(config, days, loaded, pickups.total),
            weekdays=pickups.weekdays,
            publishers=publishers,
        )
        storage.write_text(outputs.report_path(root, config.name), report.model_dump_json())
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
            "source": provenance.source_line(publishers),
            "seconds": round(time.perf_counter() - begin, 3),
        }
    )
