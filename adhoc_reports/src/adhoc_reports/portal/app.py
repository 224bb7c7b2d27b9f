"""The application: pages and API behind the guard, and the answers to errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from adhoc_reports.lib.request import EXPECTED, join_messages, problems
from adhoc_reports.lib.store import ReportStore
from adhoc_reports.portal import api, pages
from adhoc_reports.portal.address import PublicAddress, route_path
from adhoc_reports.portal.guard import Guard, HeadAsGet, RateLimit
from adhoc_reports.portal.service import NOT_FOUND, ReportService, RequestRefused
from adhoc_reports.portal.templates import STATIC, Templates
from taxi_shared import web
from taxi_shared.storage import DataRoot
from taxi_shared.web import LOOPBACK_HOSTS, SameSiteGuard


@dataclass(frozen=True)
class Options:
    """How the portal is served.

    hosts:       names and origins by which browsers reach it, as by `web.allowed_hosts`
    base_path:   its path behind a proxy, as by `address.base_path`
    dagster_url: address of Dagster's webserver for browsers; empty for no links to runs
    """

    hosts: Sequence[str] = LOOPBACK_HOSTS
    base_path: str = ""
    dagster_url: str = ""
    write_limit: RateLimit = field(default_factory=RateLimit)
    # A page that waits polls once a second, and a whole company may come from one address.
    read_limit: RateLimit = field(default_factory=lambda: RateLimit(3_000, 100))


def create_app(root: DataRoot, options: Options | None = None) -> FastAPI:
    """The portal over a data root."""
    options = options or Options()
    app = FastAPI(
        title="Taxi reports",
        version="1",
        description="Request a chart of taxi trips, follow it, and download it.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = ReportService(ReportStore(root))
    app.state.templates = Templates(options.base_path)
    app.state.dagster_url = options.dagster_url
    app.include_router(api.router)
    app.include_router(pages.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _add_middleware(app, options)
    _add_error_handlers(app)
    return app


def _add_middleware(app: FastAPI, options: Options) -> None:
    """Add the middleware, the innermost first."""
    # Level 1: for 1,000 reports, the usual level 9 would hold up everybody for 40 ms.
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)
    app.add_middleware(Guard, write_limit=options.write_limit, read_limit=options.read_limit)
    origin = next(iter(web.origins(options.hosts)), "")
    app.add_middleware(PublicAddress, path=options.base_path, origin=origin)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SameSiteGuard, hosts=options.hosts)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # A location is a part of the request, `body` or `query`, and the field in it.
        errors = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
        if any(map(_is_about_the_body, errors)):
            reason = f"this is no JSON object; {EXPECTED}"
            return _refusal(request, HTTPStatus.UNPROCESSABLE_ENTITY, reason)
        found = list(problems(errors))
        fields = {each.field: str(each) for each in found if each.field}
        return _refusal(
            request, HTTPStatus.UNPROCESSABLE_ENTITY, join_messages(map(str, found)), fields
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        is_missing = error.status_code == HTTPStatus.NOT_FOUND
        found = error.problems if isinstance(error, RequestRefused) else ()
        fields = {each.field: str(each) for each in found if each.field}
        reason = NOT_FOUND if is_missing else str(error.detail)
        response = _refusal(request, error.status_code, reason, fields)
        response.headers.update(error.headers or {})
        return response


def _is_about_the_body(error: Mapping[str, object]) -> bool:
    is_whole = not error["loc"] and error["type"] != "value_error"
    return error["type"] == "json_invalid" or is_whole


def _refusal(
    request: Request, status: int, reason: str, fields: dict[str, str] | None = None
) -> Response:
    """A refusal: as JSON from the API, as a page elsewhere."""
    if route_path(request.scope).startswith("/api"):
        return api.refusal(status, reason, fields)
    templates: Templates = request.app.state.templates
    return templates.render_problem(status, reason)
