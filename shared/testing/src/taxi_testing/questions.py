"""The questions of the three metrics, over a small lake: what every engine must answer alike."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from taxi_shared.engines import Hundredths, Parameter, Question
from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES, Table
from taxi_testing.lakes import Month

REPOSITORY = Path(__file__).parents[4]
SQL = {
    "trips_by_week": "analytics/src/analytics/sql/trips_by_week.sql",
    "manhattan_stats": "analytics/src/analytics/sql/manhattan_stats.sql",
    "adhoc_request": "adhoc_reports/src/adhoc_reports/sql/adhoc_request.sql",
}

# Trips every 7.5 hours from four days before the month: some without an amount, a zone or riders.
_TRIPS = """
SELECT
    TIMESTAMP '{month}' + INTERVAL (n * 450 - 6000) MINUTE AS pickup_datetime,
    CASE WHEN n % 9 > 0 THEN n % 4 END AS pickup_zone_id,
    CASE WHEN n % 7 > 0 THEN CAST(n * 1.37 - 20 AS DECIMAL(12, 2)) END AS total_amount,
    CAST(n * 0.1 AS DECIMAL(12, 2)) AS trip_distance,
    CASE WHEN n % 5 > 0 THEN n % 3 END AS passenger_count,
    CAST(pickup_datetime AS DATE) AS pickup_date,
    CAST(EXTRACT(HOUR FROM pickup_datetime) AS INTEGER) AS pickup_hour,
    CAST(EXTRACT(DOW FROM pickup_datetime) AS INTEGER) AS pickup_weekday,
    CAST(pickup_datetime AS DATE) - CAST(EXTRACT(DOW FROM pickup_datetime) AS INTEGER) AS week_start
FROM (SELECT CAST(i AS INTEGER) AS n FROM range({number}) AS numbers(i))
"""
_ZONES = """
SELECT * FROM (VALUES
    (1, 'Governor''s Island', 'Manhattan', 'Yellow Zone', 'POINT (0 0)'),
    (2, 'Inwood', 'Manhattan', 'Boro Zone', NULL),
    (3, 'Astoria', 'Queens', 'Boro Zone', NULL)
) AS zones(zone_id, zone, borough, service_zone, geometry)
"""


class Week(NamedTuple):
    """A row of trips_by_week."""

    period: date
    num_trips: int
    total_amount: Hundredths | None
    trip_distance: Hundredths | None
    passenger_count: int
    num_without_amount: int
    num_without_distance: int


class Zone(NamedTuple):
    """A row of manhattan_stats."""

    zone: str
    borough: str
    geometry: str | None
    num_trips: int


class Hour(NamedTuple):
    """A row of adhoc_request."""

    hour_of_day: int
    day_of_week: int
    num_trips: int


class _Metric(NamedTuple):
    row: type[tuple[Any, ...]]
    tables: list[Table]
    parameters: Mapping[str, Parameter]
    days: tuple[date, date] | None


_PERIOD = date(2023, 1, 1), date(2023, 2, 12)
_METRICS = {
    "trips_by_week": _Metric(
        Week, [TRIPS], {"start_date": _PERIOD[0], "end_date": _PERIOD[1]}, _PERIOD
    ),
    "manhattan_stats": _Metric(Zone, [TRIPS, ZONES], {"borough": "Manhattan"}, None),
    "adhoc_request": _Metric(
        Hour,
        [TRIP_DAYS, TRIPS, ZONES],
        {
            "borough": "Manhattan",
            "zone": "Governor's Island",
            "start_date": _PERIOD[0],
            "end_date": _PERIOD[1],
        },
        _PERIOD,
    ),
}


def write_lake(lake: Lake) -> None:
    """Write two months of trips, and zones."""
    write_month(lake, "2023-01-01")
    write_month(lake, "2023-02-01")
    with duckdb.connect() as con:
        lake.root.attach(con)
        lake.write(con, ZONES, Rows(_ZONES))


def write_month(lake: Lake, month: str, trips: int = 120) -> None:
    """Write a month of some trips."""
    with duckdb.connect() as con:
        lake.root.attach(con)
        Month(month, Rows(_TRIPS.format(month=month, number=trips))).write(con, lake)


def question(lake: Lake, metric: str) -> Question[Any]:
    """The question of a metric, as its asset asks it."""
    row, tables, parameters, days = _METRICS[metric]
    sql = (REPOSITORY / SQL[metric]).read_text()
    return Question(metric, sql, row, lake.snapshot(), tables, parameters, days)
