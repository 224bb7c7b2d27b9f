"""The API: ask, follow, and fetch; described by `/api/openapi.json`."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field
from upath import UPath

from adhoc_reports.lib import outputs
from adhoc_reports.lib.available import LoadedMonth
from adhoc_reports.lib.pickups import WEEKDAYS
from adhoc_reports.lib.report import Basis, at_moment
from adhoc_reports.lib.request import Problem, Question, request_name, stored_name
from adhoc_reports.portal.archive import Sent
from adhoc_reports.portal.guard import sender_of
from adhoc_reports.portal.office import Look, NotThere, Office, Refused, View
from adhoc_reports.portal.states import State
from taxi_shared import storage

MAX_SEARCH_CHARACTERS = 200
# The platform's own charts have some 60 KB.
MAX_FILE_BYTES = 8 * 1024 * 1024


def _name(value: str) -> str:
    return request_name(f"{value}.json") if value else value


class Asked(Question):
    """A request for a report, as its file has it, and a name for it or none."""

    name: Annotated[str, AfterValidator(_name)] = Field(
        default="", description="Name of the report; empty for one made from area and days."
    )

    @property
    def question(self) -> Question:
        return Question.model_validate(self.model_dump(exclude={"name"}))


class Problems(BaseModel):
    """Why something was refused: in one sentence, and by field where it is about fields."""

    reason: str
    fields: dict[str, str] = {}


class Brief(BaseModel):
    """A request, and how far it is."""

    name: str
    state: State
    reason: str = Field(description="Why it failed or was rejected; else empty.")
    asked: datetime
    question: Question | None = Field(description="What is asked; null where it was rejected.")
    trips: int | None = Field(description="Pickups in all; null before the report is done.")
    page: str
    chart: str | None
    numbers: str | None
    run: str | None = Field(description="The page of its run in Dagster.")


class Result(BaseModel):
    """A report that is done."""

    made: datetime
    weekdays: tuple[str, ...] = Field(description="Names of the columns of `by_hour`.")
    by_hour: tuple[tuple[int, ...], ...] = Field(
        description="Total pickups: 24 hours, 7 weekdays each."
    )
    days: tuple[int, ...] = Field(
        description="How many days of each weekday were counted; totals divided by them are "
        "the averages of the chart."
    )
    publishers: tuple[str, ...] = Field(
        description="Who published the data; empty where the report does not say so."
    )
    remark: str
    basis: Basis


class Full(Brief):
    """A request, how far it is, and the report's numbers once it is done."""

    result: Result | None = Field(
        description="Null before there is one; while it is made again, the one of before."
    )
    trouble: tuple[str, ...] = Field(
        description="What keeps requests from being answered, in sentences; mostly nothing."
    )


class Found(BaseModel):
    """Some of the requests that were looked for, newest first; `total` is how many there are."""

    total: int
    reports: list[Brief]
    trouble: tuple[str, ...] = Field(
        description="What keeps requests from being answered, in sentences; mostly nothing."
    )


class Data(BaseModel):
    """Which months and zones can be asked for, and who published the data."""

    months: tuple[LoadedMonth, ...]
    zones: dict[str, tuple[str, ...]]
    publishers: tuple[str, ...]


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problems, "description": "This is not JSON."},
    403: {"model": Problems, "description": "This came from the page of another site."},
    409: {"model": Problems, "description": "Another request has this name."},
    413: {"model": Problems, "description": "This is too large."},
    422: {"model": Problems, "description": "A field is not as it is expected."},
}
AWAY: dict[int | str, dict[str, Any]] = {
    408: {"model": Problems, "description": "The body did not arrive in time."},
    429: {
        "model": Problems,
        "description": "Too many requests at once from one user or address, or too many of theirs "
        "are waiting. The header Retry-After says after how many seconds to try again.",
    },
    503: {"model": Problems, "description": "The storage does not answer, or too many wait."},
}
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": Problems, "description": "There is no such report."},
    422: {"model": Problems, "description": "A field is not as it is expected."},
}
Name = Annotated[str, Path(description="Name of a report.", examples=["jan"])]


def api(office: Office, path: str = "") -> APIRouter:
    """The routes of the API; `path` is the portal's at a proxy, see `address`."""
    router = APIRouter(prefix="/api", responses=AWAY)

    @router.post(
        "/requests",
        status_code=status.HTTP_201_CREATED,
        responses={
            200: {"model": Full, "description": "The same request is there already."},
            **REFUSALS,
        },
    )
    async def ask(asked: Asked, request: Request, response: Response) -> Full:
        """Ask for a report. The same request sent again leads to the report that is there."""
        sent_request, sent = await office.ask(asked.question, asked.name, sender_of(request.scope))
        if sent is Sent.THERE:
            response.status_code = status.HTTP_200_OK
        response.headers["location"] = f"{path}/api/reports/{quote(sent_request.name, safe='')}"
        return await full(sent_request.name)

    @router.get("/reports", response_model=Found, responses={422: MISSING[422]})
    async def find(
        q: Annotated[
            str,
            Query(
                description="Words that name, area, days or reason contain.",
                json_schema_extra={"maxLength": MAX_SEARCH_CHARACTERS},
            ),
        ] = "",
        state: Annotated[State | None, Query(description="Only those of this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> Response:
        """Requests and reports, newest first."""
        look = await office.look()

        def found() -> str:
            views = matching(look, q, state)
            reports = [brief(office, view, path) for view in views[offset : offset + limit]]
            return Found(total=len(views), reports=reports, trouble=look.trouble).model_dump_json()

        # A finished response: FastAPI would validate and write 1,000 reports on the event loop.
        return Response(await office.compute(found), media_type="application/json")

    @router.get("/reports/{name}", responses=MISSING)
    async def follow(name: Name) -> Full:
        """A request's state, and its report's numbers once it is done."""
        return await full(name)

    @router.get(
        "/reports/{name}/chart.png",
        response_class=Response,
        responses={**MISSING, 200: {"content": {"image/png": {}}, "description": "The chart."}},
    )
    async def chart(name: Name) -> Response:
        """The chart of a report."""
        return await file(office, name, "chart")

    @router.get(
        "/reports/{name}/numbers.csv",
        response_class=Response,
        responses={**MISSING, 200: {"content": {"text/csv": {}}, "description": "The numbers."}},
    )
    async def numbers(name: Name) -> Response:
        """The numbers of a report: a line for each hour, a column for each weekday."""
        return await file(office, name, "numbers")

    @router.get("/available")
    async def data() -> Data:
        """Which months and zones can be asked for."""
        available = (await office.look()).available
        return Data(months=available.months, zones=available.zones, publishers=available.publishers)

    async def full(name: str) -> Full:
        view = await office.follow(name)
        look = await office.look()
        report = await office.report(view)
        result = report and Result(
            made=report.made,
            weekdays=WEEKDAYS,
            by_hour=report.by_hour,
            days=report.weekdays,
            publishers=report.publishers,
            remark=report.remark,
            basis=report.basis,
        )
        known = brief(office, view, path).model_dump()
        if report and view.progress.state is State.DONE:
            known["run"] = office.dagster.link(report.run_id)
        return Full.model_validate({**known, "result": result, "trouble": look.trouble})

    return router


def matching(look: Look, words: str, state: State | None = None) -> list[View]:
    """The requests that contain all the words, in any case, and have the state.

    Takes some milliseconds per thousand requests. Raises Refused where the words are too long.
    """
    if len(words) > MAX_SEARCH_CHARACTERS:
        sentence = f"Search for at most {MAX_SEARCH_CHARACTERS} characters."
        raise Refused(422, Problem("q", "", sentence))
    found = [view for view in look.views if state is None or view.progress.state is state]
    for word in dict.fromkeys(words.casefold().split()):
        found = [view for view in found if word in view.text]
    return found


def brief(office: Office, view: View, path: str) -> Brief:
    """A request in brief; `path` as of `api`."""
    entry, progress = view.entry, view.progress
    report = f"/reports/{quote(entry.name, safe='')}"
    done = progress.state is State.DONE
    return Brief(
        name=entry.name,
        state=progress.state,
        reason=progress.reason,
        asked=at_moment(entry.asked),
        question=entry.asks,
        trips=entry.answer.trips if done and entry.answer else None,
        page=f"{path}{report}",
        chart=f"{path}/api{report}/chart.png" if done else None,
        numbers=f"{path}/api{report}/numbers.csv" if done else None,
        run=office.dagster.link(progress.run.run_id) if progress.run else None,
    )


KINDS = {
    "chart": (outputs.chart_path, "image/png", "inline", "png"),
    "numbers": (outputs.numbers_path, "text/csv; charset=utf-8", "attachment", "csv"),
}


async def file(office: Office, name: str, kind: str) -> Response:
    """A file of a report. Raises NotThere."""
    path_of, media_type, disposition, suffix = KINDS[kind]
    try:
        path = path_of(office.archive.root, stored_name(f"{name}.json"))
    except ValueError:
        raise NotThere from None
    content = await office.storage(_content, path)
    if content is None:
        raise NotThere
    filename = quote(f"{name}.{suffix}", safe="")
    return Response(
        content,
        media_type=media_type,
        headers={"content-disposition": f"{disposition}; filename*=UTF-8''{filename}"},
    )


def _content(path: UPath) -> bytes | None:
    try:
        return storage.read_bounded(path, MAX_FILE_BYTES)
    except (FileNotFoundError, storage.UnsafeFile):
        return None


def problems_answer(
    status_code: int, reason: str, fields: dict[str, str] | None = None
) -> Response:
    """A refusal, for a program."""
    return JSONResponse(Problems(reason=reason, fields=fields or {}).model_dump(), status_code)
