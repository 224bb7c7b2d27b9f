"""The automation condition of weekly figures.

It is made of Dagster's own conditions and of two that read the lake: which weeks have all their
months, and which weeks have trips in a file that was added or replaced.
"""

import json
from collections.abc import Collection, Set
from datetime import date
from importlib.resources import files
from typing import Any

import dagster as dg

from analytics.lib import weeks
from taxi_shared import keys, settings
from taxi_shared.automation import handled
from taxi_shared.database import LakeDatabase
from taxi_shared.partitions import monthly, weekly
from taxi_shared.tables import TRIP_DAYS

WEEKS_QUERY = (files("analytics") / "sql" / "weeks_by_month.sql").read_text()


class MonthsLoaded(dg.AutomationCondition[dg.AssetKey]):
    """Selects the weeks whose months are all in the lake.

    A month that has no partition yet is not in the lake either. Dagster's own condition on missing
    dependencies does not know such a month.
    """

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """List the lake's months once."""
        loaded = _read_versions().keys()
        first = monthly().start.date().isoformat()
        ready = {
            week
            for week in _candidate_weeks(context)
            if not weeks.missing_months(week, loaded, first)
        }
        return dg.AutomationResult(context, _subset(context, ready))


class TripsReplaced(dg.AutomationCondition[dg.AssetKey]):
    """Selects the weeks with trips in a month's file that was added or replaced.

    "Replaced" is since the last evaluation, and the trips may be in the old file or the new one.
    The file may hold stray trips of other months' weeks: these count too. A file that was loaded
    again with the same content was not replaced.

    The cursor has the version of each month's file and the weeks of its trips.
    """

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """List the lake's months, and query the weeks of those that have changed."""
        before: weeks.WeeksByMonth = json.loads(context.cursor or "{}")
        versions = _read_versions()
        changed = weeks.changed_months(before, versions)
        weeks_now = _read_weeks(changed) if changed else {}
        now = {
            month: (version, weeks_now[month]) if month in weeks_now else before[month]
            for month, version in versions.items()
        }
        # At the first evaluation every file is new: then only missing weeks are materialized.
        is_first = context.cursor is None
        replaced = set() if is_first else weeks.weeks_of_months(changed, before, now)
        subset = _subset(context, replaced & _candidate_weeks(context))
        return dg.AutomationResult(context, subset, cursor=json.dumps(now))


def eager_on_loaded_weeks() -> dg.AutomationCondition[Any]:
    """Materialize a week when all its months are loaded, and when its trips were replaced."""
    # `on_missing`, but for all weeks and not the latest only, for weeks that were missing at the
    # sensor's first evaluation, and by the months that a week touches.
    missing = (
        dg.AutomationCondition.on_missing()
        .without(dg.AutomationCondition.in_latest_time_window())
        .replace("handled", handled() & ~dg.AutomationCondition.newly_missing())
        .replace("any_deps_missing", ~MonthsLoaded())
    )
    replaced = TripsReplaced().since((handled() & ~TripsReplaced()).with_label("handled"))
    # A run records each month as soon as it is in place. The others stay in progress until they are
    # recorded too, or the run ends. The weeks wait for the last month, and are one run as well.
    # Any month counts: `manhattan_stats` depends on all of them.
    loading = dg.AutomationCondition.asset_matches(
        keys.MANHATTAN_STATS, dg.AutomationCondition.any_deps_in_progress()
    )
    return (
        (missing | replaced) & MonthsLoaded() & ~loading & ~dg.AutomationCondition.in_progress()
    ).with_label("all_months_are_loaded")


def _read_versions() -> dict[str, str]:
    """The months in the lake, each with a text that changes when its file is replaced."""
    return _database().lake.snapshot().versions(TRIP_DAYS)


def _read_weeks(months: Collection[str]) -> dict[str, list[str]]:
    """The weeks of the trips in each month's file, from the first weekly partition on.

    A week that is no partition yet counts: it may be one when the file is replaced.
    """
    days = {"first": weekly().start.date(), "last": date.max}
    with _database().get_connection(tables=[TRIP_DAYS]) as con:
        found = con.execute(WEEKS_QUERY, {"months": list(months), **days}).fetchall()
    by_month: dict[str, list[str]] = {month: [] for month in months}
    for month, week in found:
        by_month[month].append(week)
    return by_month


def _database() -> LakeDatabase:
    return LakeDatabase(data_root=settings.load().data_root)


def _candidate_weeks(context: dg.AutomationContext[dg.AssetKey]) -> Set[str]:
    return context.candidate_subset.expensively_compute_partition_keys()


def _subset(context: dg.AutomationContext[dg.AssetKey], selected: Set[str]) -> Any:
    """The selected weeks as the subset that Dagster expects; it exports no name for its type."""
    return context.candidate_subset.compute_intersection_with_partition_keys(selected)
