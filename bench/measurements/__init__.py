"""What is measured, in the order in which it is: a function a measurement, by its name.

Each gives what goes into the results' file: plain numbers, lists of every single value.
"""

from collections.abc import Callable
from typing import Any

from bench.measurements import growth, ingest, lake, points, portal, requests, start_up, usual
from bench.scale import Bench

Result = dict[str, Any]

MEASUREMENTS: dict[str, Callable[[Bench], Result]] = {
    "imports": start_up.imports,
    "dev": start_up.dev,
    "growth_months": growth.months,
    "growth_rows": growth.rows,
    "points": points.beside_zones,
    "weeks": lake.weeks,
    "lake": lake.few_and_many,
    "requests": requests.one_by_one_and_at_once,
    "portal": portal.pages,
    "ingest": ingest.beside_bare,
    "usual": usual.beside_ours,
}
