"""Checks of ingestion's tables.

What a run did to its months is told of those; counts are told of every month in the lake, lest a
warning should disappear when another month is loaded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import duckdb

from ingestion.lib import checks
from ingestion.lib.checks import UNKNOWN_TOTALS, UNKNOWN_ZONES, Counts, UnlikeDescribed
from ingestion.lib.months import Implausible, Month
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.partitions import monthly
from taxi_shared.tables import GREEN_FIRST_MONTH, GREEN_TRIPS, TRIPS, Table

COLUMNS_AS_DESCRIBED = "columns_as_described"
ROWS_AS_PUBLISHED = "rows_as_published"
PLAUSIBLE_MONTHS = "plausible_months"
EVERY_COLUMN_DESCRIBED = "every_column_described"


@dataclass(frozen=True)
class CountCheck:
    """A check of a month's counts against what is usual, for tables of days that have `count`."""

    name: str
    count: str
    description: str
    look: Callable[[str, Mapping[str, Counts]], str | None]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN


COUNT_CHECKS = (
    CountCheck(
        "few_strays",
        "num_trips",
        f"At most {checks.MOST_STRAYS:.1%} of a file's trips were picked up in other months.",
        checks.strays,
    ),
    CountCheck(
        "few_unknown_zones",
        UNKNOWN_ZONES,
        f"At most {checks.MOST_UNKNOWN_ZONES:.0%} of a month's trips have no zone of pickup.",
        checks.unknown_zones,
    ),
    CountCheck(
        "usual_number_of_trips",
        "num_trips",
        f"A month has at most {checks.USUAL_FACTOR} times as many trips, or as few, as the months "
        "beside it and the same month a year before.",
        checks.usual_number,
    ),
    # Not blocking: the trips are right, and sums that are NULL show as unknown.
    CountCheck(
        "totals_known",
        UNKNOWN_TOTALS,
        f"At most {checks.MOST_UNKNOWN_TOTALS:.0%} of a month's trips have no total amount.",
        checks.unknown_totals,
        dg.AssetCheckSeverity.ERROR,
    ),
)


# Each table with its asset and the first month that there is of it.
TABLES = {
    keys.TAXI_TRIPS: (TRIPS, "2009-01"),
    keys.GREEN_TRIPS: (GREEN_TRIPS, GREEN_FIRST_MONTH),
}
# `on_cron` waits for what is before the check to be made after the hour: it would wait for the
# very month that does not come.
EACH_MORNING = dg.AutomationCondition.on_cron("0 7 * * *").ignore(dg.AssetSelection.assets(*TABLES))


@dg.multi_asset_check(
    name="up_to_date",
    specs=[
        dg.AssetCheckSpec(
            "up_to_date",
            asset=asset,
            description="The newest month that TLC should have published by now is loaded. A month "
            f"is due {checks.USUAL_DELAY.days} days after its end.",
            automation_condition=EACH_MORNING,
        )
        for asset in TABLES
    ],
    can_subset=True,
)
def up_to_date(
    context: dg.AssetCheckExecutionContext, database: LakeDatabase
) -> Iterator[dg.AssetCheckResult]:
    """Looked at each morning, since no load tells of a month that does not come."""
    today = datetime.now(UTC).date()
    for key in sorted(context.selected_asset_check_keys):
        table, first = TABLES[key.asset_key]
        loaded = database.lake.versions(table)
        months = [month for month in monthly().get_partition_keys() if month[:7] >= first]
        late = checks.not_up_to_date(months, loaded, today)
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=late is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=late,
            metadata={"newest month": max(loaded, default="none")[:7]},
        )


def columns_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check of a table's columns, the same for every table."""
    return dg.AssetCheckSpec(
        COLUMNS_AS_DESCRIBED,
        asset=asset,
        blocking=True,
        description="The columns in the lake, and their types, are those that the table's "
        "description has. Nothing follows from a file that has others.",
    )


def columns_result(asset: dg.AssetKey, wrong: Sequence[UnlikeDescribed]) -> dg.AssetCheckResult:
    """Its result: what is wrong with which files."""
    return _result(
        dg.AssetCheckKey(asset, COLUMNS_AS_DESCRIBED),
        [str(error) for error in wrong],
        dg.AssetCheckSeverity.ERROR,
    )


def check_specs(asset: dg.AssetKey, table: Table) -> list[dg.AssetCheckSpec]:
    """The checks of a table of trips; those of counts where it has a table of days."""
    return [
        columns_spec(asset),
        dg.AssetCheckSpec(
            ROWS_AS_PUBLISHED,
            asset=asset,
            blocking=True,
            description="A month has as many rows as its file. Where it would not, or could not be "
            "loaded at all, the lake keeps what it had.",
        ),
        dg.AssetCheckSpec(
            PLAUSIBLE_MONTHS,
            asset=asset,
            blocking=True,
            description="A month's file has rows, at least "
            f"{checks.LEAST_OF_REPLACED:.0%} as many as the month in the lake that it replaces, or "
            f"{checks.LEAST_OF_OTHERS:.0%} of those of other months, and at most "
            f"{checks.MOST_STRAYS_AT_ALL:.0%} of its pickups are outside the month. Otherwise the "
            "lake keeps what it had, unless a person accepts the file.",
        ),
        dg.AssetCheckSpec(
            EVERY_COLUMN_DESCRIBED,
            asset=asset,
            description="No file at hand has a column that the platform does not describe. A new "
            "column does not stop the load.",
        ),
        *(
            dg.AssetCheckSpec(check.name, asset=asset, description=check.description)
            for check in COUNT_CHECKS
            if table.days and table.days.has(check.count)
        ),
    ]


def check_results(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    brought: Sequence[Month],
    undescribed: Mapping[str, tuple[str, ...]],
    selected: Set[dg.AssetCheckKey],
) -> Iterator[dg.AssetCheckResult]:
    """The results of the selected checks. `con` has views of the lake as it is now."""
    for key in sorted(selected, key=lambda key: key.name):
        if key.name == ROWS_AS_PUBLISHED:
            yield _result(key, _not_loaded(brought), dg.AssetCheckSeverity.ERROR)
        elif key.name == PLAUSIBLE_MONTHS:
            refused = [str(each.error) for each in brought if isinstance(each.error, Implausible)]
            yield _result(key, refused, dg.AssetCheckSeverity.ERROR)
        elif key.name == COLUMNS_AS_DESCRIBED:
            errors = (month.error for month in brought)
            wrong = [error for error in errors if isinstance(error, UnlikeDescribed)]
            yield columns_result(key.asset_key, wrong)
        elif key.name == EVERY_COLUMN_DESCRIBED:
            yield _result(key, [not_described(undescribed)] if undescribed else [])
    wanted = [(key, check) for check in COUNT_CHECKS for key in selected if key.name == check.name]
    if wanted and table.days:
        counts = checks.counts_by_month(con, table.days)
        for key, check in wanted:
            found = checks.findings(check.look(month, counts) for month in sorted(counts))
            yield _result(key, found, check.severity)


def _not_loaded(brought: Sequence[Month]) -> list[str]:
    """The months whose rows nobody can vouch for, and why."""
    return [
        f"{month.source.month} was not loaded: {month.error or month.fetched.error}"
        for month in brought
        if month.loaded is None
    ]


def not_described(undescribed: Mapping[str, tuple[str, ...]]) -> str:
    """A sentence on columns by month that nobody has described."""
    found = "; ".join(f"{month}: {', '.join(names)}" for month, names in undescribed.items())
    return (
        "TLC's files have columns that are not described in taxi_shared.tables and not loaded: "
        f"{found}"
    )


def _result(
    key: dg.AssetCheckKey,
    found: Sequence[str],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not found,
        severity=severity,
        description="\n".join(found) or None,
        metadata={"findings": len(found)},
    )
