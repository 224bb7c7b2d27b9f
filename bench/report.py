"""The report: a table, charts and the projection, between markers of a Markdown file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import charts, projection, targets
from bench.readings.row import Row, spread
from bench.results import Results
from bench.scale import median


def update(readme: Path, results: Results) -> None:
    """Replace a mode's part of the file; what stands outside of the markers stays."""
    mode = results.about["mode"]
    begin, end = (f"<!-- {mode} results: {word} -->" for word in ("begin", "end"))
    text = readme.read_text() if readme.exists() else f"{begin}\n{end}\n"
    if begin not in text or end not in text:
        raise ValueError(f"{readme} has no lines {begin} and {end}; put them where the table goes")
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
        kind = "A trial of the bench with months of another size: no answer to any target"
    elif not full:
        kind = "Quick run: at most six months, so no answer to the targets for 36 months"
    machine, load = about["machine"], about["load_before"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    yield f"\n**{kind}.** {about['date']}, {about['rows']:,} synthetic rows a month. "
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
    yield f"{machine['system']}. {versions}. "
    yield f"Load before the run: {load[0]} (1 min), {load[1]} (5 min), {load[2]} (15 min)."
    later = [f"{n} ({m['at'][:10]})" for n, m in measured.items() if m["at"][:10] > about["date"]]
    if later:
        yield f"Measured since: {', '.join(later)}. "
    yield "Times are medians, with the lowest and the highest, and the number of values.\n"
    rows = [
        (row.what, row.value, row.target or "–", _verdict(row, full=full), row.made_of)
        for row in targets.rows(measured, full=full, standard=results.is_standard)
    ]
    yield from _table(("measured", "value", "target", "", "made of"), rows)
    missing = [name for name, _ in targets.ROWS if name not in measured]
    if missing:
        yield f"\nNot measured: {', '.join(missing)}."
    yield from _growth(measured)
    for caption, path in pictures:
        yield f"\n![{caption}](charts/{path.name})"
    found = projection.costs(measured)
    if found:
        header, *lines = projection.table(found)
        yield "\nOn paper, from these slopes, TLC's whole published history on this machine:\n"
        yield from _table(header, lines)
        yield f"\n{projection.limits(found)}"
    yield f"\nEvery value: `results/{results.path.name}`.\n"


def _verdict(row: Row, *, full: bool) -> str:
    if row.met is None:
        return "–" if full or not row.target else "not from this run"
    return "met" if row.met else "**missed**"


def _growth(measured: dict[str, Any]) -> Iterator[str]:
    for name, title in (
        ("growth_months", "A run over more months"),
        ("growth_rows", "A run over one month of more rows"),
    ):
        if name not in measured:
            continue
        growth = measured[name]
        yield (
            f"\n{title}: {growth['seconds_a_million_rows']:.2f} s a million rows and "
            f"{growth['seconds_fixed']:.1f} s a run; memory {growth['mb_a_million_rows']:+.2f} MB "
            "a million rows.\n"
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
                    f"{median(point['together_mb']):.0f} MB",
                )
                for point in growth["points"]
            ],
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
