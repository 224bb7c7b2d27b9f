"""Checks of the tables of trips, as in `taxi_trips`, with the `up_to_date` check of their months.

Some are about the months of the run, others about every month in the lake: a warning about one
month should not disappear when another is loaded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import duckdb

from ingestion.defs.trip_report import TripReport, unknown_columns_message
from ingestion.lib import checks, conform, services
from ingestion.lib.checks import UNKNOWN_TOTALS, UNKNOWN_ZONES, Counts, SchemaMismatch
from ingestion.lib.loading import Implausible
from ingestion.lib.months import MonthResult
from ingestion.lib.parquet_schema import LayoutError
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.services import FHV, Service

UP_TO_DATE = "up_to_date"
COLUMNS_AS_DESCRIBED = "columns_as_described"
ROWS_AS_PUBLISHED = "rows_as_published"
PLAUSIBLE_MONTHS = "plausible_months"
EVERY_COLUMN_DESCRIBED = "every_column_described"
TOTALS_KNOWN = "totals_known"
# The others warn. TOTALS_KNOWN does not block: the trips are right, and unknown sums are NULL.
ERRORS = frozenset({COLUMNS_AS_DESCRIBED, ROWS_AS_PUBLISHED, PLAUSIBLE_MONTHS, TOTALS_KNOWN})


@dataclass(frozen=True)
class CountCheck:
    """A check of the counts of each month in the lake, for tables of days that have `count`.

    finding: what is unusual about a month, given the counts of all months; None where nothing is
    """

    name: str
    count: str
    description: str
    finding: Callable[[str, Mapping[str, Counts]], str | None]


COUNT_CHECKS = (
    CountCheck(
        "few_strays",
        "num_trips",
        f"At most {checks.MOST_STRAYS:.1%} of a file's trips were picked up in other months.",
        checks.too_many_strays,
    ),
    CountCheck(
        "few_unknown_zones",
        UNKNOWN_ZONES,
        f"At most {checks.MOST_UNKNOWN_ZONES:.0%} of a month's trips have no zone of pickup.",
        checks.too_many_unknown_zones,
    ),
    CountCheck(
        "usual_number_of_trips",
        "num_trips",
        f"A month has at most {checks.USUAL_FACTOR} times as many trips, or as few, as the months "
        "beside it and the same month a year before.",
        checks.unusual_number,
    ),
    CountCheck(
        TOTALS_KNOWN,
        UNKNOWN_TOTALS,
        f"At most {checks.MOST_UNKNOWN_TOTALS:.0%} of a month's trips have no total amount.",
        checks.too_many_unknown_totals,
    ),
)


def count_checks(service: Service) -> list[CountCheck]:
    """The checks of counts that a service's table of days has."""
    days = service.table.days
    return [
        check
        for check in COUNT_CHECKS
        if days
        and days.has(check.count)
        # Bases report few zones: a warning that appears every month is not read.
        and not (service == FHV and check.count == UNKNOWN_ZONES)
    ]


def up_to_date(service: Service) -> dg.AssetChecksDefinition:
    """The check whether the newest month is loaded, executed each morning.

    Loads do not run it: no load can report a month that never arrives.
    """
    # Without `ignore`, the condition would wait for an update of the table after 7:00: for the very
    # month that does not arrive.
    each_morning = dg.AutomationCondition.on_cron("0 7 * * *").ignore(
        dg.AssetSelection.assets(service.table_asset)
    )

    @dg.asset_check(
        name=UP_TO_DATE,
        asset=service.table_asset,
        description="The newest month that TLC should have published by now is loaded. A month "
        f"is due {checks.USUAL_DELAY.days} days after its end.",
        automation_condition=each_morning,
    )
    def check(database: LakeDatabase) -> dg.AssetCheckResult:
        now = datetime.now(UTC)
        loaded = database.lake.snapshot().files(service.table)
        late = checks.not_up_to_date(services.months_until(service, now), loaded, now.date())
        return dg.AssetCheckResult(
            passed=late is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=late,
            metadata={"newest month": max(loaded, default="none")[:7]},
        )

    return check


def columns_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check of a table's columns, the same for every table."""
    return dg.AssetCheckSpec(
        COLUMNS_AS_DESCRIBED,
        asset=asset,
        blocking=True,
        description="The columns in the lake, and their types, are those that the table's "
        "description has. A file with other columns does not replace the one in the lake.",
    )


def columns_result(asset: dg.AssetKey, wrong: Sequence[SchemaMismatch]) -> dg.AssetCheckResult:
    """The result of the check of a table's columns: what is wrong with which files."""
    return _result(
        dg.AssetCheckKey(asset, COLUMNS_AS_DESCRIBED),
        [str(error) for error in wrong],
    )


def check_specs(service: Service) -> list[dg.AssetCheckSpec]:
    """The checks of a service's table."""
    asset = service.table_asset
    return [
        columns_spec(asset),
        dg.AssetCheckSpec(
            ROWS_AS_PUBLISHED,
            asset=asset,
            blocking=True,
            description="A month has as many rows as its file. Where it would not, or could not be "
            "loaded at all, the lake keeps its previous rows.",
        ),
        dg.AssetCheckSpec(
            PLAUSIBLE_MONTHS,
            asset=asset,
            blocking=True,
            description="A month's file has rows, at least "
            f"{checks.LEAST_OF_REPLACED:.0%} as many as the month in the lake that it replaces, or "
            f"{checks.LEAST_OF_OTHERS:.0%} of those of other months, and at most "
            f"{checks.MOST_STRAYS_AT_ALL:.0%} of its pickups are outside the month. Otherwise the "
            "lake keeps its previous rows, unless a person accepts the file.",
        ),
        dg.AssetCheckSpec(
            EVERY_COLUMN_DESCRIBED,
            asset=asset,
            description="No stored file has a column that the platform does not describe. A new "
            "column does not stop the load.",
        ),
        *(
            dg.AssetCheckSpec(check.name, asset=asset, description=check.description)
            for check in count_checks(service)
        ),
    ]


def check_results(
    database: LakeDatabase, service: Service, report: TripReport
) -> Iterator[dg.AssetCheckResult]:
    """The results of the selected checks, once the months of a run are reported."""
    selected = report.context.selected_asset_check_keys
    if selected:
        yield from _results(selected, _run_findings(report.months))
        yield from _results(selected, _lake_findings(database, service))


def _run_findings(months: Sequence[MonthResult]) -> dict[str, list[str]]:
    """What is wrong with the months of the run, by check."""
    errors = [month.error for month in months]
    return {
        ROWS_AS_PUBLISHED: [
            f"{month.file.month} was not loaded: {month.error}"
            for month in months
            if month.loaded is None
        ],
        PLAUSIBLE_MONTHS: [str(error) for error in errors if isinstance(error, Implausible)],
        COLUMNS_AS_DESCRIBED: [str(error) for error in errors if isinstance(error, SchemaMismatch)],
    }


def _lake_findings(database: LakeDatabase, service: Service) -> dict[str, list[str]]:
    """What is unusual about any month in the lake, by check."""
    days = service.table.days
    with database.get_connection(tables=[days] if days else []) as con:
        unknown = _unknown_columns(con, service, database.lake)
        counts = checks.counts_by_month(con, days) if days else {}
    found = {
        check.name: [check.finding(month, counts) for month in sorted(counts)]
        for check in count_checks(service)
    }
    return {
        EVERY_COLUMN_DESCRIBED: unknown,
        **{name: [each for each in findings if each] for name, findings in found.items()},
    }


def _unknown_columns(con: duckdb.DuckDBPyConnection, service: Service, lake: Lake) -> list[str]:
    """A sentence on the columns that no table describes, of every file in `raw/`.

    Of one month's file only, the warning would disappear when another month is loaded.
    """
    found = {}
    for file in services.raw_files(service, lake.root):
        month = file.stem[-7:]
        try:
            found[month] = conform.plan_read(con, service.table, file, month).unknown_columns
        except LayoutError:
            continue  # reported when that month was loaded
    unknown = {month: columns for month, columns in found.items() if columns}
    return [unknown_columns_message(unknown)] if unknown else []


def _results(
    selected: Set[dg.AssetCheckKey], findings: Mapping[str, Sequence[str]]
) -> Iterator[dg.AssetCheckResult]:
    for key in sorted(selected):
        if key.name in findings:
            yield _result(key, findings[key.name])


def _result(key: dg.AssetCheckKey, found: Sequence[str]) -> dg.AssetCheckResult:
    is_error = key.name in ERRORS
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description="\n".join(found) or None,
        metadata={"findings": len(found)},
    )
