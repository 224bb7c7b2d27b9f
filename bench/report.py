"""The report: tables, charts and the estimate, between two markers of a Markdown file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import charts, projection, targets
from bench.results import Results
from bench.rows.row import Row, spread
from bench.scale import median


def update(readme: Path, results: Results) -> None:
    """Replace a mode's part of the file, between its markers.

    Raises ValueError if the markers are missing.
    """
    mode = results.about["mode"]
    begin, end = (f"<!-- {mode} results: {word} -->" for word in ("begin", "end"))
    text = readme.read_text() if readme.exists() else f"{begin}\n{end}\n"
    if begin not in text or end not in text:
        raise ValueError(
            f"{readme} lacks the lines {begin} and {end}; add them where the table goes"
        )
    pictures = charts.draw(results, readme.parent / "charts")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    body = "\n".join(_report(results, pictures))
    readme.write_text(f"{before}{begin}\n{body}\n{end}{after}")


def _report(results: Results, pictures: Sequence[tuple[str, Path]]) -> Iterator[str]:
    about, measured = results.about, results.measurements
    full = about["mode"] == "full"
    kind = "Full run"
    if not results.is_standard:
        kind = "Trial run with small months: not comparable with the targets"
    elif not full:
        kind = "Quick run: at most six months, not comparable with the targets for 36 months"
    machine, load = about["machine"], about["load_before"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    yield f"\n**{kind}.** {about['date']}, {about['rows']:,} synthetic rows per month. "
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
    yield f"{machine['system']}. {versions}. "
    yield f"Load before the run: {load[0]} (1 min), {load[1]} (5 min), {load[2]} (15 min)."
    later = [f"{n} ({m['at'][:10]})" for n, m in measured.items() if m["at"][:10] > about["date"]]
    if later:
        yield f"Measured later: {', '.join(later)}. "
    yield "Times are medians, with the lowest, the highest, and the number of values.\n"
    rows = [
        (row.measure, row.value, row.target or "–", _verdict(row, full=full), row.details)
        for row in targets.rows(measured, full=full, standard=results.is_standard)
    ]
    yield from _table(("measure", "value", "target", "result", "computed from"), rows)
    missing = [name for name, _ in targets.ROWS if name not in measured]
    if missing:
        yield f"\nNot measured: {', '.join(missing)}."
    yield from _growth(measured)
    for caption, path in pictures:
        yield f"\n![{caption}](charts/{path.name})"
    found = projection.costs(measured)
    if found:
        header, *lines = projection.table(found)
        yield "\nEstimate from these slopes for TLC's whole history on this machine:\n"
        yield from _table(header, lines)
        yield f"\n{projection.limits(found)}"
    yield f"\nAll values: `results/{results.path.name}`.\n"


def _verdict(row: Row, *, full: bool) -> str:
    if row.met is None:
        return "–" if full or not row.target else "not judged"
    return "met" if row.met else "**missed**"


def _growth(measured: dict[str, Any]) -> Iterator[str]:
    for name, title in (
        ("growth_months", "A run over more months"),
        ("growth_rows", "A run over one month with more rows"),
    ):
        if name not in measured:
            continue
        growth = measured[name]
        yield (
            f"\n{title}: {growth['seconds_per_million_rows']:.2f} s per million rows and "
            f"{growth['seconds_fixed']:.1f} s per run; memory "
            f"{growth['mb_per_million_rows']:+.2f} MB per million rows.\n"
        )
        yield from _table(
            ("months", "rows", "launch to end", "start to end", "largest process", "all processes"),
            [
                (
                    str(point["months"]),
                    f"{point['rows']:,}",
                    spread(point["from_launch"]),
                    spread(point["from_start"]),
                    f"{median(point['largest_mb']):.0f} MB",
                    f"{median(point['total_mb']):.0f} MB",
                )
                for point in growth["points"]
            ],
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
