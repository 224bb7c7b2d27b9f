"""The automation conditions of the analytics team's assets.

They are Dagster's own, and two that read the lake: which weeks have all their months, and which
weeks have trips in a file that was added or replaced.
"""

import json
from collections.abc import Mapping, Set
from datetime import date
from importlib.resources import files

import dagster as dg

from analytics.lib import weeks
from taxi_shared import keys, settings
from taxi_shared.automation import handled
from taxi_shared.database import LakeDatabase
from taxi_shared.partitions import monthly, weekly
from taxi_shared.tables import TRIP_DAYS

# The version of a month's file, and the weeks of which it holds trips.
_MonthState = tuple[str, list[str]]

WEEKS_QUERY = (files("analytics") / "sql" / "weeks_by_month.sql").read_text()


class MonthsLoaded(dg.AutomationCondition[dg.AssetKey]):
    """A week whose months are all in the lake.

    A month that has no partition yet is not in the lake either. Dagster's own condition on missing
    dependencies does not know of such a month.
    """

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        loaded = _versions().keys()
        first = monthly().start.date().isoformat()
        ready = {
            week
            for week in _candidates(context)
            if all(month in loaded for month in weeks.months_of(week) if month >= first)
        }
        return _result(context, ready)


class TripsReplaced(dg.AutomationCondition[dg.AssetKey]):
    """A week that has, or had, trips in a month's file that was added or replaced since the last
    evaluation.

    This includes the weeks of other months of which the file holds strays. A file that was loaded
    again with the same content was not replaced.
    """

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        before: dict[str, _MonthState] = json.loads(context.cursor or "{}")
        versions = _versions()
        changed = [m for m, version in versions.items() if before.get(m, (None,))[0] != version]
        weeks_now = _weeks_by_month(changed) if changed else {}
        now = {
            month: (version, weeks_now[month]) if month in weeks_now else before[month]
            for month, version in versions.items()
        }
        touched = {week for month in changed for week in weeks_now[month]}
        touched |= {week for month in changed if month in before for week in before[month][1]}
        # At the first evaluation every file is new: only missing weeks are made then.
        is_first = context.cursor is None
        return _result(context, set() if is_first else touched & _candidates(context), now)


# `on_missing`, but for every week instead of the latest only, for weeks that were missing at the
# sensor's first evaluation, and by the months that a week touches.
_MISSING = (
    dg.AutomationCondition.on_missing()
    .without(dg.AutomationCondition.in_latest_time_window())
    .replace("handled", handled() & ~dg.AutomationCondition.newly_missing())
    .replace("any_deps_missing", ~MonthsLoaded())
)
_REPLACED = TripsReplaced().since((handled() & ~TripsReplaced()).with_label("handled"))
# A run records each month as soon as it is in place; the others stay in progress until they are
# recorded too, or the run ends. The weeks wait for the last, so that they are one run as well.
# Any month counts: `manhattan_stats` depends on all of them.
_LOADING = dg.AutomationCondition.asset_matches(
    keys.MANHATTAN_STATS, dg.AutomationCondition.any_deps_in_progress()
)
AFTER_ITS_MONTHS = (
    (_MISSING | _REPLACED) & MonthsLoaded() & ~_LOADING & ~dg.AutomationCondition.in_progress()
).with_label("after_its_months")


def _database() -> LakeDatabase:
    return LakeDatabase(data_root=settings.load().data_root)


def _versions() -> dict[str, str]:
    """The months in the lake, each with a text that changes when its file is replaced."""
    return _database().lake.versions(TRIP_DAYS)


def _weeks_by_month(months: list[str]) -> dict[str, list[str]]:
    """The weeks, from the first partition on, of which the file of each month holds trips.

    A week that is no partition yet counts: it may have been made when the file is replaced.
    """
    days = {"first": weekly().start.date(), "last": date.max}
    with _database().get_connection(tables=[TRIP_DAYS]) as con:
        found = con.execute(WEEKS_QUERY, {"months": months, **days}).fetchall()
    weeks_of: dict[str, list[str]] = {month: [] for month in months}
    for month, week in found:
        weeks_of[month].append(week)
    return weeks_of


def _candidates(context: dg.AutomationContext[dg.AssetKey]) -> Set[str]:
    return context.candidate_subset.expensively_compute_partition_keys()


def _result(
    context: dg.AutomationContext[dg.AssetKey],
    partitions: Set[str],
    state: Mapping[str, _MonthState] | None = None,
) -> dg.AutomationResult[dg.AssetKey]:
    subset = context.candidate_subset.compute_intersection_with_partition_keys(partitions)
    cursor = None if state is None else json.dumps(state)
    return dg.AutomationResult(context, subset, cursor=cursor)
