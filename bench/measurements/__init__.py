"""The measurements by name, in the order in which they run.

Each function returns plain numbers and lists of all values, for the results file.
"""

from collections.abc import Callable
from typing import Any

from bench.measurements import (
    backfill,
    click,
    engines,
    growth,
    ingest,
    lake,
    points,
    portal,
    requests,
    start_up,
    usual,
)
from bench.scale import Bench

Result = dict[str, Any]

MEASUREMENTS: dict[str, Callable[[Bench], Result]] = {
    "imports": start_up.measure_imports,
    "dev": start_up.measure_dev,
    "growth_months": growth.measure_months,
    "growth_rows": growth.measure_rows,
    "points": points.measure_points,
    "weeks": lake.measure_weeks,
    "lake": lake.measure_one_week,
    "history": lake.measure_history,
    "engines": engines.measure_engines,
    "requests": requests.measure_requests,
    "flood": requests.measure_flood,
    "click": click.measure_clicks,
    "portal": portal.measure_pages,
    "ingest": ingest.measure_ingest,
    "ingest_large": ingest.measure_large_months,
    "backfill": backfill.measure_backfill,
    "usual": usual.measure_usual_setup,
}
