"""Everything that the reporting team gives to the platform."""

import dagster as dg

from adhoc_reports.defs import intake, requests
from adhoc_reports.defs.resources import resources
from taxi_shared.ownership import owned_by

defs = dg.Definitions(
    assets=owned_by("adhoc_reports", [requests.adhoc_request]),
    jobs=[intake.adhoc_request_job],
    sensors=[intake.adhoc_request_sensor, intake.available_data_sensor],
    resources=resources(),
    # A process a step would cost more than the step does.
    executor=dg.in_process_executor,
)
