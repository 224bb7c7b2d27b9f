"""Checks of the tables of trips, told of the months that a run has loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import duckdb

from ingestion.lib import checks
from ingestion.lib.checks import Counts
from ingestion.lib.months import Month, RowsLost
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.partitions import monthly
from taxi_shared.tables import TRIPS, Table

ROWS_AS_PUBLISHED = "rows_as_published"
EVERY_COLUMN_DESCRIBED = "every_column_described"


@dataclass(frozen=True)
class CountCheck:
    """A check of a month's counts against what is usual."""

    name: str
    description: str
    look: Callable[[str, Mapping[str, Counts]], str | None]


COUNT_CHECKS = (
    CountCheck(
        "few_strays",
        f"At most {checks.MOST_STRAYS:.1%} of a file's trips were picked up in other months.",
        checks.strays,
    ),
    CountCheck(
        "few_unknown_zones",
        f"At most {checks.MOST_UNKNOWN_ZONES:.0%} of a month's trips have no zone of pickup.",
        checks.unknown_zones,
    ),
    CountCheck(
        "usual_number_of_trips",
        f"A month has at most {checks.USUAL_FACTOR} times as many trips, or as few, as the months "
        "beside it and the same month a year before.",
        checks.usual_number,
    ),
)


@dg.asset_check(
    asset=keys.TAXI_TRIPS,
    description="The newest month that TLC should have published by now is loaded. A month is due "
    f"{checks.USUAL_DELAY.days} days after its end.",
    automation_condition=dg.AutomationCondition.on_cron("0 7 * * *"),
)
def up_to_date(
    context: dg.AssetCheckExecutionContext, database: LakeDatabase
) -> dg.AssetCheckResult:
    """Looked at each morning, since no load tells of a month that does not come."""
    loaded = database.lake.versions(TRIPS)
    today = datetime.now(UTC).date()
    late = checks.not_up_to_date(monthly().get_partition_keys(), loaded, today)
    return dg.AssetCheckResult(
        passed=late is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=late,
        metadata={"newest month": max(loaded, default="none")[:7]},
    )


def check_specs(asset: dg.AssetKey, table: Table) -> list[dg.AssetCheckSpec]:
    """The checks of a table of trips; those of counts where it has a table of days."""
    return [
        dg.AssetCheckSpec(
            ROWS_AS_PUBLISHED,
            asset=asset,
            blocking=True,
            description="A month has as many rows as its file. Where it would not, the lake keeps "
            "what it had.",
        ),
        dg.AssetCheckSpec(
            EVERY_COLUMN_DESCRIBED,
            asset=asset,
            description="TLC's newest file and those just loaded have no column that the platform "
            "does not describe. A new column does not stop the load.",
        ),
        *(
            dg.AssetCheckSpec(check.name, asset=asset, description=check.description)
            for check in COUNT_CHECKS
            if table.days
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
    loaded = sorted(month.source.partition for month in brought if month.loaded)
    for key in sorted(selected, key=lambda key: key.name):
        if key.name == ROWS_AS_PUBLISHED:
            lost = [str(month.error) for month in brought if isinstance(month.error, RowsLost)]
            yield _result(key, lost, dg.AssetCheckSeverity.ERROR)
        elif key.name == EVERY_COLUMN_DESCRIBED:
            yield _result(key, [not_described(undescribed)] if undescribed else [])
    wanted = [(key, check) for check in COUNT_CHECKS for key in selected if key.name == check.name]
    if wanted and table.days:
        counts = checks.counts_by_month(con, table.days)
        for key, check in wanted:
            found = checks.findings(check.look(month, counts) for month in loaded)
            yield _result(key, found)


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
