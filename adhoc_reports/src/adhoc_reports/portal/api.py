"""The API: create, follow, find and download reports; described by `/api/openapi.json`."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field

from adhoc_reports.lib.index import ReportEntry
from adhoc_reports.lib.outcome import (
    Exclusion,
    LoadedMonth,
    Outcome,
    Status,
    Table,
    to_datetime,
)
from adhoc_reports.lib.pickups import WEEKDAYS
from adhoc_reports.lib.request import Question, request_name
from adhoc_reports.lib.store import Submission
from adhoc_reports.portal.downloads import download
from adhoc_reports.portal.guard import sender_of
from adhoc_reports.portal.service import (
    MAX_SEARCH_CHARACTERS,
    Overview,
    ReportService,
    matching,
)


def _name(value: str) -> str:
    return request_name(f"{value}.json") if value else value


class NewReport(Question):
    """A request for a report: the fields of a request file, and an optional name."""

    name: Annotated[str, AfterValidator(_name)] = Field(
        default="", description="Name of the report; empty for one made of area and days."
    )

    @property
    def question(self) -> Question:
        """The request without the name."""
        return Question.model_validate(self.model_dump(exclude={"name"}))


class Refusal(BaseModel):
    """Why a request was refused: in one sentence, and by field."""

    reason: str
    fields: dict[str, str] = {}


class ReportSummary(BaseModel):
    """A request and its state."""

    name: str
    state: Status
    reason: str = Field(description="Why it failed or was rejected; else empty.")
    asked: datetime = Field(description="When it was requested.")
    question: Question | None = Field(description="What is asked; null if the file is invalid.")
    trips: int | None = Field(description="Total pickups; null before the report is done.")
    page: str
    chart: str | None
    numbers: str | None
    run: str | None = Field(description="The page of its run in Dagster.")

    @classmethod
    def of(cls, entry: ReportEntry, request: Request) -> "ReportSummary":
        """The summary of an entry, with addresses as the client of a request sees them."""
        base = request.scope["root_path"]
        report = f"/reports/{quote(entry.name, safe='')}"
        is_done = entry.status is Status.DONE
        return cls(
            name=entry.name,
            state=entry.status,
            reason=entry.reason,
            asked=to_datetime(entry.submitted),
            question=entry.question,
            trips=entry.outcome.trips if is_done and entry.outcome else None,
            page=f"{base}{report}",
            chart=f"{base}/api{report}/chart.png" if is_done else None,
            numbers=f"{base}/api{report}/numbers.csv" if is_done else None,
            run=run_link(entry, request) or None,
        )


class Basis(BaseModel):
    """The data that a report is computed from."""

    months: tuple[LoadedMonth, ...] = Field(description="TLC's files with trips of these days.")
    left_out: tuple[Exclusion, ...] = Field(description="Trips that are not counted, and why.")


class Result(BaseModel):
    """The numbers of a report."""

    made: datetime = Field(description="When they were counted.")
    weekdays: tuple[str, ...] = Field(description="Names of the columns of `by_hour`.")
    by_hour: tuple[tuple[int, ...], ...] = Field(
        description="Total pickups: 24 hours, 7 weekdays each."
    )
    days: tuple[int, ...] = Field(
        description="How many days of each weekday were counted; totals divided by them are "
        "the averages of the chart."
    )
    publishers: tuple[str, ...] = Field(
        description="Who published the data; empty if that was not recorded."
    )
    values: tuple[tuple[float | None, ...], ...] | None = Field(
        description="In the shape of `by_hour`, of another measure than trips; else null."
    )
    table: Table = Field(description="The numbers of the kinds that are not by hour and weekday.")
    remark: str
    basis: Basis

    @classmethod
    def of(cls, outcome: Outcome | None) -> "Result | None":
        """The numbers of an outcome; None if it has no report."""
        report = outcome.report if outcome else None
        if report is None:
            return None
        return cls(
            made=report.generated,
            weekdays=WEEKDAYS,
            by_hour=report.by_hour,
            days=report.weekdays,
            publishers=report.publishers,
            values=report.values,
            table=report.table,
            remark=report.remark,
            basis=Basis(months=report.coverage.months, left_out=report.coverage.exclusions),
        )


Trouble = Annotated[
    tuple[str, ...],
    Field(description="Sentences on what keeps requests from being answered; mostly none."),
]


class ReportDetails(ReportSummary):
    """A request, its state, and the report's numbers once it is done."""

    result: Result | None = Field(
        description="Null before there is a report; while it is generated again, the previous one."
    )
    trouble: Trouble


class ReportList(BaseModel):
    """A part of the reports found, newest first; `total` counts all of them."""

    total: int
    reports: list[ReportSummary]
    trouble: Trouble


class AvailableData(BaseModel):
    """The months and zones that can be requested, and who published the data."""

    months: tuple[LoadedMonth, ...] = Field(description="Of yellow taxis.")
    services: dict[str, tuple[LoadedMonth, ...]] = Field(description="Of the other services.")
    zones: dict[str, tuple[str, ...]]
    publishers: tuple[str, ...]


class Search(BaseModel):
    """Which reports to list."""

    q: str = Field(
        default="",
        description="Words that name, area, days or reason contain.",
        json_schema_extra={"maxLength": MAX_SEARCH_CHARACTERS},
    )
    state: Status | None = Field(default=None, description="Only those in this state.")
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=1_000_000)


async def get_service(request: Request) -> ReportService:
    """The service of the application."""
    service: ReportService = request.app.state.service
    return service


Service = Annotated[ReportService, Depends(get_service)]
Name = Annotated[str, Path(description="Name of a report.", examples=["jan"])]

Responses = dict[int | str, dict[str, Any]]


def _refusals(descriptions: dict[int, str]) -> Responses:
    return {code: {"model": Refusal, "description": text} for code, text in descriptions.items()}


COMMON = _refusals(
    {
        408: "The body did not arrive in time.",
        429: "Too many requests from one user or address, or too many of theirs are waiting. The "
        "header Retry-After says after how many seconds to try again.",
        503: "The storage is not responding, or the queue is full.",
    }
)
INVALID = _refusals({422: "The value of a field is invalid."})
MISSING = _refusals({404: "There is no such report."}) | INVALID
CREATED: Responses = {
    200: {"model": ReportDetails, "description": "The same request exists already."},
    **_refusals(
        {
            400: "The body is not JSON.",
            403: "The request came from a page of another site.",
            409: "Another request has this name.",
            413: "The body is too large.",
        }
    ),
    **INVALID,
}
CHART: Responses = {200: {"content": {"image/png": {}}, "description": "The chart."}, **MISSING}
NUMBERS: Responses = {200: {"content": {"text/csv": {}}, "description": "The numbers."}, **MISSING}
router = APIRouter(prefix="/api", responses=COMMON)


@router.post("/requests", status_code=status.HTTP_201_CREATED, responses=CREATED)
async def create_report(
    report: NewReport, request: Request, response: Response, service: Service
) -> ReportDetails:
    """Request a report. The same request sent again returns the existing report."""
    sender = sender_of(request.scope)
    name, submission = await service.submit(report.question, report.name, sender)
    if submission is Submission.DUPLICATE:
        response.status_code = status.HTTP_200_OK
    base = request.scope["root_path"]
    response.headers["location"] = f"{base}/api/reports/{quote(name, safe='')}"
    return await _details(name, request, service)


@router.get("/reports", response_model=ReportList, responses=INVALID)
async def list_reports(
    search: Annotated[Search, Query()], request: Request, service: Service
) -> Response:
    """Requests and reports, newest first."""
    overview = await service.overview()
    # A finished response: FastAPI would validate and write 1,000 reports on the event loop.
    content = await service.compute(_found, overview, search, request)
    return Response(content, media_type="application/json")


@router.get("/reports/{name}", responses=MISSING)
async def get_report(
    name: Name,
    request: Request,
    service: Service,
    known: Annotated[
        Status | None, Query(description="Answer once the state is another, after 5 s at most.")
    ] = None,
) -> ReportDetails:
    """A request's state, and its report's numbers once it is done."""
    if known is not None:
        await service.follow(name, known)
    return await _details(name, request, service)


@router.get("/reports/{name}/chart.png", response_class=Response, responses=CHART)
async def get_chart(name: Name, service: Service) -> Response:
    """The chart of a report."""
    return await download(service, name, "chart.png")


@router.get("/reports/{name}/numbers.csv", response_class=Response, responses=NUMBERS)
async def get_numbers(name: Name, service: Service) -> Response:
    """The numbers as they are stored: trips by hour and weekday have a column per weekday."""
    return await download(service, name, "numbers.csv")


@router.get("/reports/{name}/data.csv", response_class=Response, responses=NUMBERS)
async def get_tidy_numbers(name: Name, service: Service) -> Response:
    """The numbers of a report of any kind: a row for each observation."""
    return await download(service, name, "data.csv")


@router.get("/available")
async def get_available_data(service: Service) -> AvailableData:
    """The months and zones that can be requested."""
    catalog = (await service.overview()).catalog
    return AvailableData(
        months=catalog.months,
        services=catalog.services,
        zones=catalog.zones,
        publishers=catalog.publishers,
    )


async def _details(name: str, request: Request, service: ReportService) -> ReportDetails:
    entry = await service.find(name)
    return ReportDetails(
        **dict(ReportSummary.of(entry, request)),
        result=Result.of(await service.outcome(entry)),
        trouble=tuple((await service.overview()).notices),
    )


def _found(overview: Overview, search: Search, request: Request) -> str:
    """One page of the reports that match a search, as JSON."""
    entries = matching(overview.entries, search.q)
    found = [each for each in entries if search.state in (None, each.status)]
    page = found[search.offset : search.offset + search.limit]
    return ReportList(
        total=len(found),
        reports=[ReportSummary.of(entry, request) for entry in page],
        trouble=tuple(overview.notices),
    ).model_dump_json()


def run_link(entry: ReportEntry, request: Request) -> str:
    """The page of a request's run in Dagster; empty if there is none."""
    dagster_url: str = request.app.state.dagster_url
    if not dagster_url or entry.outcome is None or entry.status is Status.RECEIVED:
        return ""
    run_id = entry.outcome.run_id
    return f"{dagster_url}/runs/{run_id}" if run_id else ""


def refusal(status_code: int, reason: str, fields: dict[str, str] | None = None) -> Response:
    """The API's answer to a request that it refuses."""
    content = Refusal(reason=reason, fields=fields or {}).model_dump()
    return JSONResponse(content, status_code)
