"""Dagster's webserver, behind the same guard as the report portal.

`python -m taxi_platform.webserver` takes the options of `dagster-webserver`, which would run
mutations for any web page: from a GET, a plain form, or a WebSocket of any origin.
"""

from collections.abc import Collection
from typing import Any

from dagster_webserver import cli
from dagster_webserver.webserver import DagsterWebserver
from graphql import (
    ASTValidationRule,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
)
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from taxi_shared import settings, web
from taxi_shared.revisions import keep_revisions

PORT = 3000
EVALUATION = "evaluationResult"
QUERY_TYPES = ("application/json", "application/graphql")


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's webserver, for browsers that use one of the allowed host names."""

    def build_middleware(self) -> list[Middleware]:
        """Put the guard before Dagster's own middleware."""
        hosts = settings.load().ui_hosts
        return [Middleware(web.SameSiteGuard, hosts=hosts), *super().build_middleware()]

    def build_graphql_validation_rules(self) -> Collection[type[ASTValidationRule]]:
        """Refuse evaluations on a read-only webserver."""
        rules = super().build_graphql_validation_rules()
        return [*rules, NoEvaluation] if self._process_context.read_only else rules

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Serve GraphQL over HTTP, with mutations only by POST and a content type no form can send.

        A link sends a GET and may carry a query, even a link in a mail, where the browser names no
        site (https://graphql.github.io/graphql-over-http/draft/#sec-GET: 405).
        """
        query = request.query_params.get("query", "")
        if request.method == "GET" and not _only_reads(query):
            return _refused(405, "Send mutations by POST.", {"allow": "POST"})
        sent_as = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and sent_as not in QUERY_TYPES:
            return _refused(415, f"Send queries as {' or '.join(QUERY_TYPES)}.")
        response: Response = await super().graphql_http_endpoint(request)
        return response


class NoEvaluation(ASTValidationRule):
    """Refuses queries that evaluate a sensor or schedule, which runs its code."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """Report the field that evaluates."""
        if node.name.value == EVALUATION:
            self.report_error(GraphQLError("Only editors evaluate sensors and schedules.", node))


def _only_reads(query: str) -> bool:
    if EVALUATION in query:  # GraphQL has no other spelling of a name
        return False
    try:
        definitions = parse(query).definitions if query else ()
    except GraphQLError:
        return True  # the endpoint answers with the error
    operations = (each for each in definitions if isinstance(each, OperationDefinitionNode))
    return all(each.operation is OperationType.QUERY for each in operations)


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"errors": [{"message": reason}]}, status, headers)


def host_guarded(  # noqa: PLR0913, PLR0917 - the signature of Dagster's function
    workspace_process_context: Any,
    host: str | None,
    port: int | None,
    path_prefix: str,
    log_level: str,
    live_data_poll_rate: int | None = None,
) -> None:
    """Serve the UI of a workspace; replaces a function of Dagster's command line."""
    app = GuardedWebserver(
        workspace_process_context, path_prefix, live_data_poll_rate
    ).create_asgi_app()
    web.serve(app, host or "127.0.0.1", port or PORT, log_level)


def main() -> None:
    """Run `dagster-webserver` with the guarded application."""
    # Dagster's command line has no option for another application; it calls this name.
    cli.host_dagster_ui_with_workspace_process_context = host_guarded
    keep_revisions()
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
