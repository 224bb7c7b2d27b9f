"""The pages: create, follow, read and find reports. They work without script."""

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from pydantic import BaseModel, Field, ValidationError

from adhoc_reports.lib.catalog import Catalog
from adhoc_reports.lib.export import as_text, has_totals
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.kinds.trend import INTERVALS
from adhoc_reports.lib.measures import MEASURES
from adhoc_reports.lib.outcome import Report, Status
from adhoc_reports.lib.pickups import HOURS
from adhoc_reports.lib.request import (
    DEFAULT_KIND,
    DEFAULT_SERVICE,
    MAX_NAME_CHARACTERS,
    Problem,
    Question,
    problems,
)
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.portal import heatmap
from adhoc_reports.portal.api import Service, run_link
from adhoc_reports.portal.downloads import download
from adhoc_reports.portal.form import ReportForm, areas, choices, field_errors, presets
from adhoc_reports.portal.guard import HEALTH, sender_of
from adhoc_reports.portal.service import (
    MAX_SEARCH_CHARACTERS,
    UNAVAILABLE,
    Overview,
    RequestRefused,
    StorageUnavailable,
    matching,
    newer_months,
)
from adhoc_reports.portal.templates import Publishers, Templates, source_news

NEWEST_REPORTS = 6
REPORTS_PER_PAGE = 24
SEE_OTHER = 303


class Search(BaseModel):
    """Which reports the list shows; `rejected`: only rejected requests."""

    q: str = ""
    rejected: bool = False
    page: int = Field(default=1, ge=1, le=100_000)


async def get_templates(request: Request) -> Templates:
    """The templates of the application."""
    templates: Templates = request.app.state.templates
    return templates


Pages = Annotated[Templates, Depends(get_templates)]
router = APIRouter()


@router.get(HEALTH)
async def health() -> Response:
    """Whether the portal itself runs; pages say what else does not."""
    return PlainTextResponse("ok")


@router.get("/")
async def show_form(
    form: Annotated[ReportForm, Query()], request: Request, service: Service, pages: Pages
) -> Response:
    """The form, filled in by the address or a preset, and the newest reports."""
    overview = await service.overview()
    if form.preset:
        form = form.with_preset(overview.catalog.of_service(form.service))
        address = f"{request.scope['root_path']}/?{urlencode(form.changed)}"
        return RedirectResponse(address, SEE_OTHER)
    return _form_page(form, overview, pages)


@router.post("/")
async def create_report(
    form: Annotated[ReportForm, Form()], request: Request, service: Service, pages: Pages
) -> Response:
    """Submit the form, and lead to the report's page."""
    try:
        report = form.to_report((await service.overview()).catalog)
        name, _ = await service.submit(report.question, report.name, sender_of(request.scope))
    except ValidationError as invalid:
        refused = RequestRefused(422, *problems(invalid.errors()))
    except RequestRefused as error:
        refused = error
    except StorageUnavailable:
        refused = RequestRefused(503, Problem("", "", UNAVAILABLE))
    else:
        return RedirectResponse(_report_path(request, name), SEE_OTHER)
    return _form_page(form, await service.overview(), pages, refused)


@router.get("/reports")
async def list_reports(
    search: Annotated[Search, Query()], service: Service, pages: Pages
) -> Response:
    """The reports that match a search."""
    overview = await service.overview()
    found = await service.compute(matching, overview.entries, search.q)
    if search.rejected:
        found = [entry for entry in found if entry.status is Status.REJECTED]
    first = (search.page - 1) * REPORTS_PER_PAGE
    return pages.render(
        "reports.html",
        _publishers(overview),
        overview=overview,
        entries=found[first : first + REPORTS_PER_PAGE],
        total=len(found),
        search=search,
        search_length=MAX_SEARCH_CHARACTERS,
        last_page=max(1, -(-len(found) // REPORTS_PER_PAGE)),
    )


@router.get("/reports/{name}")
async def show_report(name: str, request: Request, service: Service, pages: Pages) -> Response:
    """A request's state, and its report once it is done."""
    entry, overview = await service.find(name), await service.overview()
    outcome = await service.outcome(entry)
    report = outcome.report if outcome else None
    is_done = entry.status is Status.DONE
    host = str(request.base_url).rstrip("/").removesuffix(request.scope["root_path"])
    return pages.render(
        "report.html",
        report.publishers if report else _publishers(overview),
        entry=entry,
        overview=overview,
        report=report,
        details=outcome.details if outcome and entry.status is Status.FAILED else "",
        link=f"{host}{_report_path(request, name)}",
        run=run_link(entry, request),
        can_regenerate=await service.can_regenerate(entry, outcome),
        form=ReportForm.of(entry.question) if entry.question else None,
        newer=newer_months(outcome, overview.catalog) if outcome and is_done else [],
        hours=HOURS,
        **_shown(entry.question, report),
    )


@router.post("/reports/{name}/again")
async def regenerate_report(name: str, request: Request, service: Service) -> Response:
    """Have a report generated again, and lead to its page."""
    await service.regenerate(await service.find(name), sender_of(request.scope))
    return RedirectResponse(_report_path(request, name), SEE_OTHER)


@router.get("/reports/{name}/{file}")
async def download_file(name: str, file: str, service: Service) -> Response:
    """A file of a report."""
    return await download(service, name, file)


@router.get("/api")
async def show_api(request: Request, service: Service, pages: Pages) -> Response:
    """How to use the API."""
    try:
        publishers = _publishers(await service.overview())
    except StorageUnavailable:  # the page shows no data
        publishers = None
    base = str(request.base_url).rstrip("/")
    return pages.render(
        "api.html",
        publishers,
        base=base,
        states=", ".join(Status),
        kinds=list(KINDS.values()),
        measures=choices(MEASURES),
    )


def _shown(question: Question | None, report: Report | None) -> dict[str, object]:
    """What the page of a report shows of its numbers: heat maps or bars, or a table."""
    if question is None or report is None:
        return {
            "views": [],
            "bars": [],
            "finding": "",
            "shown": "",
            "table": None,
            "has_totals": False,
        }
    kind = KINDS[question.kind]
    is_grid = question.kind == DEFAULT_KIND
    table = kind.page_table(question, report)
    return {
        "views": heatmap.views(report.pickups, question) if is_grid else [],
        "bars": heatmap.bars(report.pickups, question) if is_grid else [],
        "finding": kind.finding(question, report),
        "shown": kind.shown(question, report),
        "has_totals": has_totals(question),
        "table": None if is_grid else {"headings": table.headings, "rows": as_text(table)},
    }


def _form_page(
    form: ReportForm, overview: Overview, pages: Templates, refused: RequestRefused | None = None
) -> Response:
    kind = KINDS.get(form.kind, KINDS[DEFAULT_KIND])
    loaded = overview.catalog.by_service
    if form.service == DEFAULT_SERVICE and loaded and not refused:
        form = form.model_copy(update={"service": next(iter(loaded))})
    catalog = loaded.get(form.service, Catalog())
    form = form.model_copy(update={"kind": kind.name}).with_period(catalog)
    page = pages.render(
        "create.html",
        _publishers(overview),
        overview=overview,
        loaded=loaded,
        kinds=list(KINDS.values()),
        kind=kind,
        measures=choices(MEASURES),
        titles=dict(choices(SERVICES)),
        intervals=INTERVALS,
        areas=areas(overview.catalog),
        presets=presets(form, catalog),
        source_news=source_news(overview.source),
        form=form,
        errors=field_errors(refused.problems) if refused else {},
        newest=overview.entries[:NEWEST_REPORTS],
        name_length=MAX_NAME_CHARACTERS,
    )
    if refused:
        page.status_code = refused.status_code
        page.headers.update(refused.headers or {})
    return page


def _report_path(request: Request, name: str) -> str:
    return f"{request.scope['root_path']}/reports/{quote(name, safe='')}"


def _publishers(overview: Overview) -> Publishers:
    """Those of all data that can be requested; None where there is none."""
    return overview.catalog.publishers if overview.catalog.all_months else None
