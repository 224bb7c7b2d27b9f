"""The panels of charts, and their colours."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.measurements.growth import line
from bench.scale import median

OURS, BARE, USUAL, INK, PALE = "#1f5fa8", "#7a8794", "#c9762b", "#2b2f33", "#c9ced3"


def plot_growth(axes: Axes, x: list[float], values: list[list[float]], *, fit: bool) -> None:
    """Plot all values with their medians, and a line through them: least squares if `fit`."""
    middle = [median(v) for v in values]
    if fit:
        slope, start = line(x, middle)
        ends = [0, max(x)]
        axes.plot(ends, [start + slope * end for end in ends], color=PALE, linewidth=2, zorder=1)
    else:
        axes.plot(x, middle, color=OURS, linewidth=1.6)
    for place, single in zip(x, values, strict=True):
        axes.plot([place] * len(single), single, "o", color=OURS, alpha=0.35, markersize=5)
    axes.plot(x, middle, "o", color=OURS, markersize=6)
    for place, value in zip(x, middle, strict=True):
        text = f"{value:.1f}" if fit else f"{value:.0f}"
        axes.annotate(
            text, (place, value), (0, 8), textcoords="offset points", ha="center", fontsize=8.5
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(0.12)


def plot_completions(axes: Axes, seconds: list[float]) -> None:
    """Plot how many requests are done over time."""
    ordered = sorted(seconds)
    axes.step([0, *ordered], range(len(ordered) + 1), where="post", color=OURS, linewidth=1.8)
    axes.plot(ordered, range(1, len(ordered) + 1), "o", color=OURS, markersize=3.5)
    axes.set_ylim(0, len(ordered) * 1.04)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
