"""Automation that every code location can use: its sensor, and conditions on new data.

A condition that only one team needs belongs in the code of that team.
"""

from typing import Any

import dagster as dg

from taxi_shared import keys

DEFAULT_INTERVAL_SECONDS = 30
MONTHS = dg.AssetSelection.assets(keys.TAXI_TRIPS)


def automation_sensor(
    location: str,
    *,
    interval_seconds: int = DEFAULT_INTERVAL_SECONDS,
    use_user_code_server: bool = False,
) -> dg.AutomationConditionSensorDefinition:
    """The sensor `<location>_automation_sensor`, which runs as soon as the location is loaded.

    It evaluates the automation conditions of all assets and asset checks of a code location. Set
    `use_user_code_server` where a condition is a class of the location, which the daemon does not
    have.
    """
    return dg.AutomationConditionSensorDefinition(
        f"{location}_automation_sensor",
        target=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=interval_seconds,
        use_user_code_server=use_user_code_server,
    )


def handled() -> dg.AutomationCondition[Any]:
    """Whether a run of the asset was requested, or has ended, since the last evaluation."""
    return dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()


def eager_on_new_data(*, all_partitions: bool = False) -> dg.AutomationCondition[Any]:
    """Dagster's `eager`, for new data versions only.

    Of an asset with partitions by time, it selects the latest one, or with `all_partitions` any.

    `eager` reacts to every load, even if the data is the same. It ignores loads from before the
    sensor's first evaluation, and loads right after a request. Here only a new data version counts,
    and only a run that was requested or ended after it handles it.
    """
    new_version = (
        dg.AutomationCondition.data_version_changed()
        & ~dg.AutomationCondition.executed_with_root_target()
    )
    upstream_changed = dg.AutomationCondition.any_deps_updated().replace(
        "newly_updated_without_root", new_version
    )
    pending = dg.AutomationCondition.newly_missing() | upstream_changed
    eager = dg.AutomationCondition.eager()
    if all_partitions:
        eager = eager.without(dg.AutomationCondition.in_latest_time_window())
    return eager.replace("any_deps_updated", upstream_changed).replace(
        "handled", handled() & ~pending
    )


def eager_on_new_months(months: dg.AssetSelection = MONTHS) -> dg.AutomationCondition[Any]:
    """`eager_on_new_data`, for an asset that depends on all months of `taxi_trips`, or of others.

    Months that TLC has yet to publish are always missing, and `eager` would wait for all of them:
    one loaded month is enough. A run that loads many months is waited for until its last.
    """
    a_month_is_loaded = dg.AutomationCondition.any_deps_match(
        ~dg.AutomationCondition.missing()
    ).allow(months)
    return eager_on_new_data().replace(
        "any_deps_missing", dg.AutomationCondition.any_deps_missing().ignore(months)
    ) & a_month_is_loaded.with_label("a_month_is_loaded")
