"""The application: pages and API behind the guard, and what is said where something is wrong."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from adhoc_reports.lib.request import EXPECTED, listed, problems
from adhoc_reports.portal.address import PublicAddress, route_path
from adhoc_reports.portal.api import api, problems_answer
from adhoc_reports.portal.archive import Archive
from adhoc_reports.portal.guard import Guard, HeadAsGet, RateLimit
from adhoc_reports.portal.office import AWAY, MISSING, NotThere, Office, Refused, StorageAway
from adhoc_reports.portal.pages import Pages
from adhoc_reports.portal.runs import Dagster
from taxi_shared import web
from taxi_shared.storage import DataRoot
from taxi_shared.web import LOOPBACK_HOSTS, SameSiteGuard

STATIC = Path(__file__).parent / "static"


def create_app(
    root: DataRoot,
    dagster: Dagster,
    hosts: Sequence[str] = LOOPBACK_HOSTS,
    write_limit: RateLimit | None = None,
    read_limit: RateLimit | None = None,
    path: str = "",
) -> FastAPI:
    """The portal over a data root and a Dagster.

    hosts: by which browsers reach it, as of `web.allowed_hosts`
    path:  at a proxy that serves it below one, as of `address.base_path`
    """
    office = Office(Archive(root), dagster)
    pages = Pages(office, path)

    app = FastAPI(
        title="Taxi reports",
        version="1",
        description="Request a chart of yellow taxi pickups, follow it, and fetch it.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.office = office
    app.include_router(api(office, path))
    app.include_router(pages.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Level 1: of 1,000 reports, the usual level 9 would hold up all others for 40 ms.
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)
    app.add_middleware(
        Guard,
        write_limit=write_limit or RateLimit(),
        # A page that waits asks once a second, and a whole company may come from one address.
        read_limit=read_limit or RateLimit(burst=3_000, per_second=100),
    )
    origin = next(iter(web.origins(hosts)), "")
    app.add_middleware(PublicAddress, path=path, origin=origin)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SameSiteGuard, hosts=hosts)

    def wrong(
        request: Request, status: int, reason: str, fields: dict[str, str] | None = None
    ) -> Response:
        if route_path(request.scope).startswith("/api"):
            return problems_answer(status, reason, fields)
        return pages.problem(request, status, reason)

    @app.exception_handler(StorageAway)
    async def away(request: Request, _error: StorageAway) -> Response:
        return wrong(request, 503, AWAY)

    @app.exception_handler(NotThere)
    async def missing(request: Request, _error: NotThere) -> Response:
        return wrong(request, 404, MISSING)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        fields = {each.field: str(each) for each in error.problems if each.field}
        response = wrong(request, error.status, str(error), fields)
        response.headers.update(error.headers)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # A place is a part of the request, `body` or `query`, and the field in it.
        errors = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
        if any(
            each["type"] == "json_invalid" or (not each["loc"] and each["type"] != "value_error")
            for each in errors
        ):
            return wrong(request, 422, f"this is no JSON object; {EXPECTED}")
        found = list(problems(errors))
        fields = {each.field: str(each) for each in found if each.field}
        return wrong(request, 422, listed(map(str, found)), fields)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        reason = MISSING if error.status_code == 404 else str(error.detail)
        response = wrong(request, error.status_code, reason)
        response.headers.update(error.headers or {})
        return response

    return app
