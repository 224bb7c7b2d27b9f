"""Trips and zones by hand, written as ingestion writes them."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import duckdb

from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import TRIPS, ZONES
from taxi_testing.lakes import Month

ISLANDS = "Governor's Island/Ellis Island/Liberty Island"


class Trip(NamedTuple):
    pickup: str
    zone_id: int | None = 1
    passengers: int | None = 1
    miles: str | None = "1.00"
    amount: str | None = "10.00"


def write_month(lake: Lake, month: str, trips: list[Trip], publisher: str = "") -> None:
    """A month's file (`2019-01-01`) with these trips, whenever their pickup was."""
    derived = ", ".join(
        f"CAST({c.expression} AS {c.type}) AS {c.name}" for c in TRIPS.columns if c.expression
    )
    query = (
        f"SELECT *, {derived} FROM (SELECT "
        "CAST(t.pickup AS TIMESTAMP) AS pickup_datetime, "
        "CAST(t.zone_id AS INTEGER) AS pickup_zone_id, "
        "CAST(t.passengers AS INTEGER) AS passenger_count, "
        "CAST(t.miles AS DECIMAL(12,2)) AS trip_distance, "
        "CAST(t.amount AS DECIMAL(12,2)) AS total_amount "
        "FROM (SELECT UNNEST($trips) AS t)) ORDER BY pickup_datetime"
    )
    with duckdb.connect() as con:
        rows = Rows(query, {"trips": [t._asdict() for t in trips]}, publisher=publisher)
        days = (
            "SELECT pickup_date, count(*) AS num_trips, coalesce(sum(total_amount), 0) AS "
            "total_amount FROM read_parquet($file) GROUP BY 1"
        )
        Month(month, rows, days).write(con, lake)


def write_zones(
    lake: Lake, zones: list[tuple[int, str, str, str | None]], publisher: str = ""
) -> None:
    """The table `zones`, from zone_id, zone, borough, geometry."""
    names = ("zone_id", "zone", "borough", "geometry")
    with duckdb.connect() as con:
        lake.write(
            con,
            ZONES,
            Rows(
                "SELECT CAST(z.zone_id AS INTEGER) AS zone_id, z.zone, z.borough, "
                "CAST(z.geometry AS VARCHAR) AS geometry FROM (SELECT UNNEST($zones) AS z)",
                {"zones": [dict(zip(names, zone, strict=True)) for zone in zones]},
                publisher=publisher,
            ),
        )


def square(west: float, south: float, size: float = 0.01) -> str:
    """A square as WKT."""
    east, north = west + size, south + size
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return f"POLYGON (({', '.join(f'{x} {y}' for x, y in corners)}))"


def totals_by_hand(trips: list[Trip], sunday: str) -> tuple[int, Decimal, Decimal, int]:
    """The figures of a week by plain Python: trips, dollars, miles, passengers."""
    first = datetime.fromisoformat(sunday)
    week = [t for t in trips if 0 <= (datetime.fromisoformat(t.pickup) - first).days < 7]
    return (
        len(week),
        sum((Decimal(t.amount) for t in week if t.amount), Decimal("0.00")),
        sum((Decimal(t.miles) for t in week if t.miles), Decimal("0.00")),
        sum(t.passengers or 0 for t in week),
    )
