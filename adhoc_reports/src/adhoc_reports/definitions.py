"""Everything that the reporting team gives to the platform."""

import dagster as dg

import taxi_shared.process  # noqa: F401 - sets up the garbage collector
from adhoc_reports.defs import available_data, intake, requests
from adhoc_reports.defs.resources import resources
from taxi_shared import settings
from taxi_shared.ownership import owned_by


def _remote_charts() -> list[dg.AssetsDefinition]:
    """`adhoc_chart`, where a setting says what draws it. Raises ValueError for wrong settings."""
    if not (settings.load().chart_lambda or settings.load().chart_ecs_task):
        return []
    from adhoc_reports.defs import remote_chart

    remote_chart.check_settings()
    return [remote_chart.adhoc_chart]


defs = dg.Definitions(
    assets=owned_by(
        "adhoc_reports",
        [requests.adhoc_request, available_data.available_data, *_remote_charts()],
    ),
    jobs=[intake.adhoc_request_job],
    sensors=[
        intake.adhoc_request_sensor,
        intake.adhoc_request_failure_sensor,
        intake.adhoc_request_cancellation_sensor,
        intake.adhoc_request_retention_sensor,
        available_data.adhoc_reports_automation_sensor,
    ],
    resources=resources(),
    # A process a step would cost more than the step does.
    executor=dg.in_process_executor,
)
