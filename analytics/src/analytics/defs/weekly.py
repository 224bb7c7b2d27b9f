"""Weekly figures of trips, with the checks on them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.resources import files
from typing import Any

import dagster as dg

from analytics.defs.conditions import eager_on_loaded_weeks
from analytics.lib import weeks
from taxi_shared import keys
from taxi_shared.as_of import AsOfConfig
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, Question
from taxi_shared.engines.choice import kind_of
from taxi_shared.io_managers import DataFrame, split_by_partition
from taxi_shared.lake import Snapshot
from taxi_shared.lineage import column_lineage
from taxi_shared.partitions import weekly
from taxi_shared.tables import MILES, MONEY, TRIP_DAYS, TRIPS
from taxi_shared.versions import code_version, source_of

# The first week may begin in a month before the first partition of taxi_trips.
MONTHS_OF_WEEK = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
QUERY = (files("analytics") / "sql" / "trips_by_week.sql").read_text()
DAYS_QUERY = (files("analytics") / "sql" / "trips_by_day.sql").read_text()
WEEKS_EQUAL_THEIR_DAYS = "weeks_equal_their_days"
AMOUNTS_ARE_KNOWN = "amounts_are_known"

SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("period", "DATE", "The Sunday that begins the week."),
        dg.TableColumn("num_trips", "BIGINT", "Trips picked up in the week."),
        dg.TableColumn(
            "total_amount", MONEY, "Charged in all, in US dollars; refunds count. Empty if unknown."
        ),
        dg.TableColumn(
            "trip_distance", MILES, "Distance by the taximeters, in miles. Empty if unknown."
        ),
        dg.TableColumn("passenger_count", "BIGINT", "Passengers; an unknown number counts as 0."),
    ]
)
LINEAGE = column_lineage(
    {
        "period": [(keys.TAXI_TRIPS, "week_start")],
        "num_trips": [],  # counts rows
        "total_amount": [(keys.TAXI_TRIPS, "total_amount")],
        "trip_distance": [(keys.TAXI_TRIPS, "trip_distance")],
        "passenger_count": [(keys.TAXI_TRIPS, "passenger_count")],
    }
)


@dg.asset(
    key=keys.TRIPS_BY_WEEK,
    deps=[dg.AssetDep(keys.TAXI_TRIPS, partition_mapping=MONTHS_OF_WEEK)],
    partitions_def=weekly(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="trips_by_week",
    automation_condition=eager_on_loaded_weeks(),
    check_specs=[
        dg.AssetCheckSpec(
            WEEKS_EQUAL_THEIR_DAYS,
            asset=keys.TRIPS_BY_WEEK,
            description="A week has the trips and total amount of its days in `trip_days`.",
        ),
        dg.AssetCheckSpec(
            AMOUNTS_ARE_KNOWN,
            asset=keys.TRIPS_BY_WEEK,
            description="Every trip of a week has a total amount and a distance. Sums are of the "
            "trips that have one, and empty where none has.",
        ),
    ],
    io_manager_key="weekly_csv",
    code_version=code_version(
        source_of(__file__, "trips_by_week", "_question"),
        source_of(weeks.__file__, "COLUMNS", "fill_empty_weeks"),
        QUERY,
    ),
    group_name=keys.METRICS,
    kinds={kind_of("trips_by_week"), "csv"},
    metadata={"dagster/column_schema": SCHEMA, "dagster/column_lineage": LINEAGE},
)
def trips_by_week(
    context: dg.AssetExecutionContext,
    config: AsOfConfig,
    database: LakeDatabase,
    trips_by_week_engine: dg.ResourceParam[Engine],
) -> Iterator[dg.Output[DataFrame] | dg.AssetCheckResult]:
    """Trips, money, miles and passengers of each week, Sunday to Saturday, by time of pickup.

    `outputs/trips_by_week.csv` has a row per materialized week. A range of weeks is one run and one
    query.
    """
    begin = time.perf_counter()
    window = context.partition_time_window
    days = window.start.date(), window.end.date()
    lake = config.snapshot(database.lake, TRIPS)
    answer = trips_by_week_engine.ask(context, _question(lake, days))
    frame = weeks.fill_empty_weeks(answer.rows, context.partition_keys)
    seconds_per_week = (time.perf_counter() - begin) / len(frame)
    _report_weeks(context, frame, lake, {"seconds": round(seconds_per_week, 4), **answer.details})
    mismatches = weeks.find_mismatches(frame, _count_days(database, lake, days))
    yield _check_result(WEEKS_EQUAL_THEIR_DAYS, mismatches)
    yield _check_result(AMOUNTS_ARE_KNOWN, weeks.find_missing_amounts(answer.rows))
    yield dg.Output(frame)


def _question(lake: Snapshot, days: tuple[date, date]) -> Question[weeks.WeekTotals]:
    """The totals of the weeks that begin on some days."""
    return Question(
        "trips_by_week",
        QUERY,
        weeks.WeekTotals,
        lake,
        [TRIPS],
        {"start_date": days[0], "end_date": days[1]},
        days,
    )


def _count_days(
    database: LakeDatabase, lake: Snapshot, days: tuple[date, date]
) -> list[tuple[Any, ...]]:
    """The trips and amounts of days as DuckDB counted them when it loaded the months."""
    with database.get_connection(days, [TRIP_DAYS], snapshot=lake) as con:
        return con.execute(DAYS_QUERY, {"start_date": days[0], "end_date": days[1]}).fetchall()


def _report_weeks(
    context: dg.AssetExecutionContext,
    frame: DataFrame,
    lake: Snapshot,
    details: Mapping[str, Any],
) -> None:
    """Add the metadata of each week, and warn of weeks that were counted without a month."""
    parts = split_by_partition(frame, "period", context.partition_keys)
    months_loaded = lake.files(TRIPS)
    version = {"trips version": lake.as_of[1]} if lake.as_of else {}
    for week in frame.itertuples():
        missing = [m[:7] for m in weeks.months_of(week.period) if m not in months_loaded]
        if missing:
            context.log.warning(f"{week.period}: counted without {', '.join(missing)}, not loaded")
        context.add_asset_metadata(
            {
                "dagster/row_count": 1,
                "bytes": len(parts[week.period]),
                "num_trips": week.num_trips,
                "total_amount": None if week.total_amount is None else float(week.total_amount),
                "months not loaded": missing,
                **version,
                **details,
            },
            partition_key=week.period,
        )


def _check_result(check: str, findings: Sequence[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=keys.TRIPS_BY_WEEK,
        check_name=check,
        passed=not findings,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(findings) or None,
        metadata={"findings": len(findings)},
    )
