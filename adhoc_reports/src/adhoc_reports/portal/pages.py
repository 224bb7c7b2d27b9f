"""The pages: create, follow, read and find reports. They work without script; `portal.js` updates
them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from adhoc_reports.lib.pickups import HOURS, TAXIS, busiest_in_words
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import (
    MAX_NAME_CHARACTERS,
    WHOLE_CITY,
    Problem,
    Question,
    in_words,
    problems,
)
from adhoc_reports.portal import heatmap
from adhoc_reports.portal.api import KINDS, MAX_SEARCH_CHARACTERS, Asked, file, matching
from adhoc_reports.portal.cache import StaleCache
from adhoc_reports.portal.guard import HEALTH, sender_of
from adhoc_reports.portal.office import (
    AWAY,
    Look,
    NotThere,
    Office,
    Refused,
    StorageAway,
    View,
    newer_months,
)
from adhoc_reports.portal.states import WORDS, State
from taxi_shared import provenance, source_status
from taxi_shared.source_status import SourceStatus

NEWEST = 6
A_PAGE = 24
FOLDER = Path(__file__).parent
SOURCE_STATUS_SECONDS, SOURCE_STATUS_PATIENCE = 10.0, 1.0
STEPS = (State.WAITING, State.QUEUED, State.RUNNING, State.DONE)
SEE_OTHER = 303
# A field of the form for each of the request's.
FORM_FIELDS = {
    "borough": "area",
    "zone": "area",
    "start_date": "first_day",
    "end_date": "last_day",
    "name": "name",
}


@dataclass(frozen=True)
class Filled:
    """The values of the form. `area` is a borough, or borough/zone."""

    area: str = WHOLE_CITY
    first_day: str = ""
    last_day: str = ""
    name: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Filled":
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})

    @classmethod
    def like(cls, question: Question) -> "Filled":
        """The form that asks a question."""
        start, end = question.dates
        area = f"{question.borough}/{question.zone}" if question.zone else question.borough
        return cls(area, start.isoformat(), (end - timedelta(days=1)).isoformat())

    def asked(self) -> Asked:
        """What it asks for. Raises ValidationError."""
        borough, _, zone = self.area.partition("/")
        return Asked.model_validate(
            {
                "borough": borough,
                "zone": zone,
                "start_date": self.first_day,
                "end_date": _day_after(self.last_day),
                "name": self.name.strip(),
            }
        )


class Pages:
    """The routes of the pages; `path` is the portal's at a proxy, see `address`."""

    def __init__(self, office: Office, path: str = "") -> None:
        self.office, self.path = office, path
        self.router = APIRouter()
        self._source: StaleCache[dict[str, SourceStatus]] = StaleCache(
            "the status of the source",
            lambda: office.storage(source_status.load, office.archive.root),
            SOURCE_STATUS_SECONDS,
            SOURCE_STATUS_PATIENCE,
        )
        self.templates = Environment(
            loader=PackageLoader("adhoc_reports.portal"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters |= {
            "thousands": lambda number: f"{number:,}",
            "day": in_words,
            "moment": _moment,
            "path": lambda name: quote(name, safe=""),
        }
        self.templates.globals |= {
            "root": path,
            "taxis": TAXIS,
            "version": _version(FOLDER / "static"),
            "thumbnail": heatmap.thumbnail,
            "State": State,
            "WORDS": WORDS,
        }
        self._add_routes()

    def problem(self, request: Request, status: int, reason: str) -> Response:
        """A page that says what is wrong."""
        return self._page("problem.html", status, reason=reason, status_code=status)

    def _page(
        self,
        template: str,
        status: int = 200,
        publishers: Sequence[str] | None = None,
        **values: object,
    ) -> Response:
        """A page; `publishers` are those of the data that it shows, None where it shows none."""
        values["source"] = "" if publishers is None else provenance.source_line(publishers)
        values["sample"] = _sample_words(publishers or ())
        return HTMLResponse(self.templates.get_template(template).render(values), status)

    def _page_of(self, name: str) -> str:
        return f"{self.path}/reports/{quote(name, safe='')}"

    def _add_routes(self) -> None:
        router, office = self.router, self.office

        @router.get(HEALTH)
        async def health() -> Response:
            """Whether the portal itself runs; what it needs may be away, and pages say so."""
            return PlainTextResponse("ok")

        @router.get("/")
        async def form(request: Request) -> Response:
            return await ask_page(Filled.of(request.query_params))

        @router.post("/")
        async def ask(
            request: Request,
            area: Annotated[str, Form()] = "",
            first_day: Annotated[str, Form()] = "",
            last_day: Annotated[str, Form()] = "",
            name: Annotated[str, Form()] = "",
        ) -> Response:
            filled = Filled(area, first_day, last_day, name)
            try:
                asked = filled.asked()
                sent, _ = await office.ask(asked.question, asked.name, sender_of(request.scope))
            except ValidationError as invalid:
                return await ask_page(filled, 422, *problems(invalid.errors()))
            except Refused as refused:
                page = await ask_page(filled, refused.status, *refused.problems)
                page.headers.update(refused.headers)
                return page
            except StorageAway:
                return await ask_page(filled, 503, Problem("", "", AWAY))
            return RedirectResponse(self._page_of(sent.name), SEE_OTHER)

        @router.get("/reports")
        async def find(
            q: str = "",
            rejected: bool = False,
            page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        ) -> Response:
            look = await office.look()
            state = State.REJECTED if rejected else None
            found = await office.compute(matching, look, q, state)
            shown = found[(page - 1) * A_PAGE : page * A_PAGE]
            return self._page(
                "reports.html",
                publishers=_publishers(look),
                look=look,
                views=shown,
                total=len(found),
                q=q,
                search_length=MAX_SEARCH_CHARACTERS,
                rejected=rejected,
                page=page,
                last_page=max(1, -(-len(found) // A_PAGE)),
            )

        @router.get("/reports/{name}")
        async def report(request: Request, name: str) -> Response:
            return await report_page(request, await office.follow(name))

        @router.post("/reports/{name}/again")
        async def again(request: Request, name: str) -> Response:
            await office.ask_again(await office.follow(name), sender_of(request.scope))
            return RedirectResponse(self._page_of(name), SEE_OTHER)

        @router.get("/reports/{name}/{kind}.{suffix}")
        async def download(name: str, kind: str, suffix: str) -> Response:
            if kind not in KINDS or suffix != KINDS[kind][-1]:
                raise NotThere
            return await file(office, name, kind)

        @router.get("/api")
        async def api_page(request: Request) -> Response:
            base = str(request.base_url).rstrip("/")
            return self._page("api.html", publishers=await known_publishers(), base=base)

        async def known_publishers() -> Sequence[str] | None:
            try:
                return _publishers(await office.look())
            except StorageAway:  # the page has no data
                return None

        async def ask_page(filled: Filled, status: int = 200, *found: Problem) -> Response:
            look = await office.look()
            wrong: dict[str, str] = {}
            for each in found:
                field, sentence = _beside_a_field(each)
                wrong.setdefault(field, sentence)
            return self._page(
                "ask.html",
                status,
                publishers=_publishers(look),
                look=look,
                source_news=_source_news((await self._source.get()).value or {}),
                filled=asdict(filled),
                wrong=wrong,
                whole_city=WHOLE_CITY,
                newest=look.views[:NEWEST],
                name_length=MAX_NAME_CHARACTERS,
            )

        async def report_page(request: Request, view: View) -> Response:
            look = await office.look()
            found = await office.report(view)
            asks = view.entry.asks
            host = str(request.base_url).rstrip("/").removesuffix(self.path)
            return self._page(
                "report.html",
                publishers=found.publishers if found else _publishers(look),
                view=view,
                look=look,
                report=found,
                link=f"{host}{self._page_of(view.entry.name)}",
                run=_run(office, view, found),
                again=await office.can_be_made_again(view, found),
                form=asdict(Filled.like(asks)) if asks else None,
                newer=newer_months(found, look.available)
                if found and view.progress.state is State.DONE
                else [],
                hours=HOURS,
                steps=STEPS,
                views=heatmap.views(found.pickups) if found else [],
                bars=heatmap.bars(found.pickups) if found else [],
                busiest=busiest_in_words(found.pickups) if found else "",
            )


def _publishers(look: Look) -> Sequence[str] | None:
    """Those of all data that can be asked for; None where there are no data."""
    return look.available.publishers if look.available.months else None


def _sample_words(publishers: Sequence[str]) -> str:
    """What the badge of sample data says; empty where all data are real."""
    if provenance.SYNTHETIC not in publishers:
        return ""
    return f"{'Synthetic' if len(set(publishers)) == 1 else 'Partly synthetic'} sample data"


def _source_news(status: Mapping[str, SourceStatus]) -> str:
    """What the form says of the source of newer data; empty while all months are loaded."""
    yellow = status.get("yellow")
    if yellow is None or yellow.state == "current":
        return ""
    if yellow.state == "unreachable":
        since = _moment(yellow.since)
        return f"The source of the data has been unreachable since {since}. {yellow.message}"
    return yellow.message


def _run(office: Office, view: View, report: Report | None) -> str:
    if view.progress.run:
        return office.dagster.link(view.progress.run.run_id)
    return office.dagster.link(report.run_id) if report else ""


def _day_after(day: str) -> str:
    """The day after a date; what is no date stays, and is refused as it is."""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return day


def _beside_a_field(problem: Problem) -> tuple[str, str]:
    """The form's field, and what is said beside it, without the names of the file's fields."""
    if "is not before end_date" in problem.expected:
        return "last_day", "The last day is before the first day."
    names_the_field = problem.found.startswith(f"{problem.field} is")
    sentence = problem.expected if names_the_field else str(problem)
    sentence = f"{sentence[:1].upper()}{sentence[1:].removesuffix('.')}."
    return FORM_FIELDS.get(problem.field, ""), sentence


def _moment(moment: datetime | float) -> str:
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    moment = moment.astimezone(UTC)
    return f"{in_words(moment)}, {moment:%H:%M} UTC"


def _version(folder: Path) -> str:
    """Differs when the static files do, so that browsers may keep them."""
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.*")))
    return blake2b(content, digest_size=6).hexdigest()
