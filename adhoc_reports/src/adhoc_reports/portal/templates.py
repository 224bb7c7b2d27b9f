"""Renders the pages' templates."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Status, to_datetime
from adhoc_reports.lib.words import in_words, month_in_words
from adhoc_reports.portal import heatmap
from taxi_shared import provenance
from taxi_shared.source_status import SourceStatus

STATIC = Path(__file__).parent / "static"
STEPS = (Status.RECEIVED, Status.GENERATING, Status.DONE)

Publishers = Sequence[str] | None
"""Publishers of the data that a page shows; None where it shows none."""


class Templates:
    """The templates of the portal at a base path, as by `address.base_path`."""

    def __init__(self, base_path: str = "") -> None:
        self._environment = Environment(
            loader=PackageLoader("adhoc_reports.portal"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "thousands": lambda number: f"{number:,}",
            "day": in_words,
            "month": month_in_words,
            "time": _time,
            "path": lambda name: quote(name, safe=""),
        }
        self._environment.globals |= {
            "root": base_path,
            "version": _version(STATIC),
            "thumbnail": heatmap.thumbnail,
            "all_kinds": KINDS,
            "Status": Status,
            "steps": STEPS,
        }

    def render(self, template: str, publishers: Publishers, **values: object) -> Response:
        """A page; `publishers` are named in its footer, and marked where the data is synthetic."""
        values["source"] = "" if publishers is None else provenance.source_line(publishers)
        values["sample"] = _sample_badge(publishers or ())
        return HTMLResponse(self._environment.get_template(template).render(values))

    def render_problem(self, status: int, reason: str) -> Response:
        """A page that says what is wrong."""
        page = self.render("problem.html", None, reason=reason, status_code=status)
        page.status_code = status
        return page


def source_news(source: SourceStatus | None) -> str:
    """A sentence on the source of newer data; empty while all months are loaded."""
    if source is None or source.state == "current":
        return ""
    if source.state == "unreachable":
        since = _time(source.since)
        return f"The source of the data has been unreachable since {since}. {source.message}"
    return source.message


def _sample_badge(publishers: Sequence[str]) -> str:
    """The text of the badge of sample data; empty where all data is real."""
    if provenance.SYNTHETIC not in publishers:
        return ""
    return f"{'Synthetic' if len(set(publishers)) == 1 else 'Partly synthetic'} sample data"


def _time(value: datetime | float) -> str:
    """A time for people: `1 January 2023, 12:03 UTC`."""
    time = value.astimezone(UTC) if isinstance(value, datetime) else to_datetime(value)
    return f"{in_words(time)}, {time:%H:%M} UTC"


def _version(folder: Path) -> str:
    """A hash of the static files, so that browsers can cache them."""
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.*")))
    return blake2b(content, digest_size=6).hexdigest()
