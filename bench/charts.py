"""The charts of the report, as PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench import panels
from bench.panels import BARE, INK, OURS, PALE, USUAL
from bench.results import Results
from bench.scale import median

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
}


def draw(results: Results, folder: Path) -> list[tuple[str, Path]]:
    """Draw a chart per group of measurements in the results; returns captions and paths."""
    mode, measured = results.about["mode"], results.measurements
    days = sorted({measurement["at"][:10] for measurement in measured.values()})
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    label = f"{mode} run, {results.about['rows']:,} rows per month, {when}"
    drawn: list[tuple[str, Path]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, caption, needed, figure_of in CHARTS:
        if all(need in measured for need in needed):
            with plt.rc_context(STYLE):
                figure = figure_of(measured)
                # The layout reserves room for a label of the figure, below the axes.
                figure.supxlabel(label, x=0.995, ha="right", fontsize=7.5, color=BARE)
                path = folder / f"{mode}-{name}.png"
                figure.savefig(path, dpi=130, metadata={"Software": "matplotlib"})
                plt.close(figure)
            drawn.append((caption, path))
    return drawn


def _ingest(measured: dict[str, Any]) -> Figure:
    ingest, usual = measured["ingest"], measured["usual"]
    bars = [
        ("bare script", ingest["months"], ingest["bare"]["seconds"], BARE),
        ("this platform, a run", ingest["months"], ingest["ours"]["from_launch"], OURS),
    ]
    if usual["months"] != ingest["months"]:
        if "bare" in usual:
            bars.append(("bare script", usual["months"], usual["bare"]["seconds"], BARE))
        bars.append(
            ("this platform, a run", usual["months"], usual["ours_run"]["from_launch"], OURS)
        )
    for who, key, color in (
        ("this platform", "ours_backfill", OURS),
        ("usual set-up", "usual", USUAL),
    ):
        seconds = [backfill["to_last_run"] for backfill in usual[key]]
        bars.append((f"{who}, a backfill", usual["months"], seconds, color))
    figure, axes = plt.subplots(figsize=(8.6, 4.4), layout="constrained")
    for place, (_, _, values, color) in enumerate(bars):
        axes.barh(place, median(values), color=color, height=0.62)
        axes.plot(values, [place] * len(values), "|", color=INK, markersize=11, alpha=0.7)
        axes.annotate(
            f"{median(values):.1f} s", (max(values), place), (7, 0),
            textcoords="offset points", va="center", fontweight="bold",
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [f"{who}\n{months} months" for who, months, *_ in bars])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.set(title="From the publisher to the table", xlabel="seconds; each stroke is a run")
    return figure


def _growth(measured: dict[str, Any]) -> Figure:
    figure, grid = plt.subplots(2, 2, figsize=(9.2, 6.2), layout="constrained")
    for column, (name, title, unit) in enumerate(
        (
            ("growth_months", "More months in one run", "months"),
            ("growth_rows", "More rows in one month", "million rows"),
        )
    ):
        points = measured[name]["points"]
        x = [p["months"] if unit == "months" else p["rows"] / 1e6 for p in points]
        panels.plot_growth(grid[0][column], x, [p["from_start"] for p in points], fit=True)
        panels.plot_growth(grid[1][column], x, [p["largest_mb"] for p in points], fit=False)
        grid[0][column].set(title=title, ylabel="seconds, start to end")
        grid[1][column].set(xlabel=unit, ylabel="peak memory, MB")
        grid[1][column].axhline(700, color=USUAL, linewidth=1, linestyle="--")
        grid[1][column].annotate(
            "target 700 MB", (0.99, 700), (0, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", color=USUAL, fontsize=8.5,
        )  # fmt: skip
        grid[1][column].set_ylim(0, 860)
    return figure


def _requests(measured: dict[str, Any]) -> Figure:
    requests = measured["requests"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
    panels.plot_completions(left, requests["single"])
    for target, name in ((4, "p50 target"), (7, "p95 target")):
        left.axvline(target, color=USUAL, linewidth=1, linestyle="--")
        left.annotate(
            name, (target, 0.03), (3, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=USUAL, fontsize=8.5,
        )  # fmt: skip
    left.set(
        title="One by one",
        xlabel="seconds to the chart",
        ylabel="requests answered",
        xlim=(0, max(8.5, 1.05 * max(requests["single"]))),
    )
    panels.plot_completions(right, requests["at_once"])
    right.set(title="All at once", xlabel="seconds since they were written", xlim=(0, None))
    return figure


CHARTS: tuple[tuple[str, str, tuple[str, ...], Callable[[dict[str, Any]], Figure]], ...] = (
    (
        "ingest",
        "Seconds from the publisher to the table, and those of the rivals",
        ("ingest", "usual"),
        _ingest,
    ),
    (
        "growth",
        "Time and memory by months and by rows per month",
        ("growth_months", "growth_rows"),
        _growth,
    ),
    ("requests", "Seconds from a request to its chart", ("requests",), _requests),
)
