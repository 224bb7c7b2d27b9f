"""The targets, and what the measurements say to each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.scale import median

Measured = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the target, the value, what it is made of.

    `met` is None where the target is about more than was measured, or there is none.
    """

    what: str
    target: str
    value: str
    made_of: str
    met: bool | None


def rows(measured: Measured, *, full: bool) -> Iterator[Row]:
    """A row for each target that has been measured."""
    for name, row_of in ROWS:
        if name in measured:
            for row in row_of(measured):
                applies = full or row.what.startswith(ALSO_QUICK)
                yield Row(
                    row.what, row.target, row.value, row.made_of, row.met if applies else None
                )


def quantile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def spread(values: list[float], digits: int = 1) -> str:
    """Median, and in brackets the lowest and the highest."""
    low, high = min(values), max(values)
    return (
        f"{median(values):.{digits}f} s ({low:.{digits}f} … {high:.{digits}f}, n = {len(values)})"
    )


def _ingest(measured: Measured) -> Iterator[Row]:
    m = measured["ingest"]
    bare = median(m["bare"]["seconds"])
    for text, key, target in (
        ("run, from launch to end", "from_launch", "<= 1.15"),
        ("run, from start to end", "from_start", ""),
    ):
        ratio = median(m["ours"][key]) / bare
        yield Row(
            f"Ingest {m['months']} months, {m['rows'] / 1e6:,.1f} M rows: {text} ÷ bare script",
            target,
            f"{ratio:.2f}",
            f"{spread(m['ours'][key])} ÷ {spread(m['bare']['seconds'])}",
            ratio <= 1.15 if target else None,
        )
    ratio = m["lake_bytes"] / m["raw_bytes"]
    yield Row(
        "Size of the lake ÷ size of the raw files",
        "<= 1.0",
        f"{ratio:.2f}",
        f"{m['lake_bytes'] / 1e6:,.0f} MB ÷ {m['raw_bytes'] / 1e6:,.0f} MB",
        ratio <= 1.0,
    )


def _usual(measured: Measured) -> Iterator[Row]:
    m = measured["usual"]
    run = m["ours_run"]
    backfills = {
        name: {k: [b[k] for b in m[name]] for k in ("to_last_run", "of_the_runs")}
        for name in ("usual", "ours_backfill")
    }
    usual = backfills["usual"]
    failed = sum(b["failed_runs"] for b in m["usual"])
    note = f"; {failed} of its runs failed" if failed else ""
    for text, theirs, mine, target in (
        ("backfill request to last run's end ÷ our run, launch to end",
         usual["to_last_run"], run["from_launch"], ">= 10"),
        ("first run's start to last run's end ÷ our run, start to end",
         usual["of_the_runs"], run["from_start"], ""),
        ("both as a backfill, request to last run's end",
         usual["to_last_run"], backfills["ours_backfill"]["to_last_run"], ""),
    ):  # fmt: skip
        ratio = median(theirs) / median(mine)
        yield Row(
            f"Usual set-up, {m['months']} months: {text}",
            target,
            f"{ratio:.1f}",
            f"{spread(theirs)} ÷ {spread(mine)}{note}",
            ratio >= 10 if target else None,
        )


def _requests(measured: Measured) -> Iterator[Row]:
    m = measured["requests"]
    p50, p95 = quantile(m["single"], 0.5), quantile(m["single"], 0.95)
    yield Row(
        f"Request file dropped → chart on disk, {len(m['single'])} one by one",
        "p50 <= 4 s, p95 <= 7 s",
        f"p50 {p50:.1f} s, p95 {p95:.1f} s",
        f"{min(m['single']):.1f} … {max(m['single']):.1f} s",
        p50 <= 4 and p95 <= 7,
    )
    last = max(m["at_once"])
    yield Row(
        f"{len(m['at_once']) + m['lost']} requests dropped at once",
        "<= 90 s, none lost or doubled",
        f"{last:.1f} s, {m['lost']} lost, {m['doubled']} doubled",
        f"first after {min(m['at_once']):.1f} s, half after {median(m['at_once']):.1f} s",
        last <= 90 and not m["lost"] and not m["doubled"],
    )


def _lake(measured: Measured) -> Iterator[Row]:
    few, many = measured["lake"]["few"], measured["lake"]["many"]
    for text, key in (
        ("One week's figures, step", "week"),
        ("One week's figures, query alone", "week_query"),
        ("One-week request, step", "request"),
        ("One-week request, query alone", "request_query"),
    ):
        ratio = median(many[key]) / median(few[key])
        yield Row(
            f"{text}: {many['months']} months in the lake ÷ {few['months']}",
            "<= 1.3",
            f"{ratio:.2f}",
            f"{spread(many[key], 3)} ÷ {spread(few[key], 3)}",
            ratio <= 1.3,
        )


def _weeks(measured: Measured) -> Iterator[Row]:
    m = measured["weeks"]
    seconds = median(m["in_run"])
    yield Row(
        f"{m['weeks']} weeks in one backfill ({m['runs']} run)",
        "<= 30 s in the run",
        f"{seconds:.1f} s",
        f"{spread(m['in_run'])}; from the request {spread(m['to_last_run'])}",
        seconds <= 30,
    )


def _memory(measured: Measured) -> Iterator[Row]:
    points = measured["growth_months"]["points"]
    peaks = {f"{p['months']} months": max(p["largest_mb"]) for p in points}
    for name, key in (("weeks", "weeks"), ("requests", "requests")):
        if key in measured:
            peaks[name] = max(measured[key]["largest_mb"])
    if "lake" in measured:
        peaks["one week, zones"] = max(
            max(measured["lake"][k]["largest_mb"]) for k in ("few", "many")
        )
    yield Row(
        "Peak memory of a run (its largest process)",
        "<= 700 MB, flat",
        f"{max(peaks.values()):.0f} MB",
        ", ".join(f"{name} {value:.0f}" for name, value in peaks.items()),
        max(peaks.values()) <= 700,
    )


def _dev(measured: Measured) -> Iterator[Row]:
    seconds = measured["dev"]["seconds"]
    yield Row(
        "`make dev`: from the command to all three locations loaded, warm",
        "<= 15 s",
        f"{median(seconds):.1f} s",
        spread(seconds),
        median(seconds) <= 15,
    )


def _imports(measured: Measured) -> Iterator[Row]:
    for location, times in measured["imports"].items():
        if isinstance(times, dict):
            ratio = median(times["definitions"]) / median(times["dagster"])
            yield Row(
                f"Import of `{location}.definitions` ÷ `import dagster`",
                "<= 1.2",
                f"{ratio:.2f}",
                f"{spread(times['definitions'], 2)} ÷ {spread(times['dagster'], 2)}",
                ratio <= 1.2,
            )


ROWS: tuple[tuple[str, Callable[[Measured], Iterator[Row]]], ...] = (
    ("ingest", _ingest),
    ("usual", _usual),
    ("requests", _requests),
    ("lake", _lake),
    ("weeks", _weeks),
    ("growth_months", _memory),
    ("dev", _dev),
    ("imports", _imports),
)
# Rows whose targets a quick run answers as well as a full one.
ALSO_QUICK = ("Usual", "Request file", "50 requests", "`make dev`", "Import of", "Size of")
