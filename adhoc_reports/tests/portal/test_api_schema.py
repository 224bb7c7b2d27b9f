"""The API, fuzzed from its own description."""

from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adhoc_reports.portal.app import Options
from adhoc_reports.portal.guard import RateLimit
from taxi_shared.storage import DataRoot

from .support import new_portal

EXAMPLES = 100
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


folder = TemporaryDirectory()
options = Options(hosts=["testserver", "localhost"], write_limit=RateLimit(burst=10**9))
portal = new_portal(DataRoot.at(folder.name), options)
portal.answer("jan")
schema = schemathesis.openapi.from_asgi("/api/openapi.json", portal.app)


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_request_is_answered_as_described(case: "schemathesis.Case[Any]") -> None:
    case.call_and_validate(checks=CHECKS)
