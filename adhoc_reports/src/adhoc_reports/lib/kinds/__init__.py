"""The kinds of report: a module each, with its query, its table, its chart and its words.

A new kind is a new module with a subclass of `Kind`, and its name here. Nothing else lists them:
requests, form, API, Dagster's launchpad and downloads ask this registry.
"""

from adhoc_reports.lib.kinds.compare import Compare
from adhoc_reports.lib.kinds.flows import Flows
from adhoc_reports.lib.kinds.hours import Hours
from adhoc_reports.lib.kinds.kind import Kind
from adhoc_reports.lib.kinds.trend import Trend
from adhoc_reports.lib.kinds.zone_map import ZoneMap

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Hours(), Trend(), Compare(), Flows(), ZoneMap())
}
"""By name; the first is that of a request that names none."""
