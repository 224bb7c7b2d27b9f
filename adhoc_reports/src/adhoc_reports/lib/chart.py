"""The chart of a request: what its kind draws, with the title above and the notes below."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

from adhoc_reports.lib import canvas
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Report
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.words import in_words
from taxi_shared import provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI, PALETTE = 120, 128
MAX_LEFT_OUT = 3
"""Reasons why trips are not counted that a chart has room for; the page has all."""


def draw(question: Question, report: Report) -> "Figure":
    """The chart of a report, with its remark, exclusions and publishers below."""
    # Imported here: the code server and the sensor have no use for matplotlib, and it is slow.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = KINDS[question.kind]
    figure = Figure(figsize=canvas.INCHES, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)  # measures texts, for which Figure would make a canvas each time
    axes = kind.draw(figure, question, report)
    if report.trips == 0:
        is_counted = bool(report.table.rows or any(report.weekdays))
        words = f"No {'pickups' if question.side == 'pickup' else 'drop-offs'} in this period"
        canvas.write_in_the_middle(axes, words if is_counted else "No data for this period")
    canvas.write_title(
        figure,
        kind.heading(question),
        f"{question.days}: {kind.shown(question, report)}",
        kind.finding(question, report),
    )
    canvas.write_notes(figure, [*notes(report), sources(report)])
    canvas.mark_as_sample(figure, report.publishers)
    return figure


def notes(report: Report) -> list[str]:
    """What the lake lacked, and the trips that are left out, apart from those elsewhere."""
    left_out = [each for each in report.coverage.exclusions if not each.is_elsewhere]
    words = [
        f"{each.trips:,} {each.reason[:1].lower()}{each.reason[1:].rstrip('.')}"
        for each in sorted(left_out, key=lambda each: -each.trips)[:MAX_LEFT_OUT]
    ]
    return [*filter(None, (report.remark, f"Left out: {'; '.join(words)}." if words else ""))]


def sources(report: Report) -> str:
    """Who published the data, and when the report was computed."""
    source = provenance.source_line(report.publishers)
    generated = report.generated
    return f"{source}. Computed {in_words(generated)}, {generated:%H:%M} UTC."


def to_png(figure: "Figure") -> bytes:
    """The figure as PNG of some 50 kB; the same figure always gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    png = BytesIO()
    # The sizes of texts that another canvas has measured are with the font's own hints, which look
    # no better, and take a tenth of the drawing.
    agg: Any = FigureCanvasAgg(figure)  # its methods have no types
    with rc_context({"text.hinting": "force_autohint"}):
        agg.draw()
    drawn = Image.frombuffer("RGBA", agg.get_width_height(), agg.buffer_rgba())
    # Half the size of true colours, and the preview of every chart is kept with Dagster's events.
    few_colours = drawn.convert("RGB").quantize(
        PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    # The highest level makes it 4 % smaller, and takes five times as long.
    few_colours.save(png, "PNG", compress_level=7)
    return png.getvalue()


def to_svg(figure: "Figure") -> bytes:
    """The figure as SVG; the same figure always gives the same bytes."""
    from matplotlib import rc_context

    svg = BytesIO()
    with rc_context({"svg.hashsalt": "taxi"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return svg.getvalue()
