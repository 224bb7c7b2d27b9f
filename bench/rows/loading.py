"""Loading months: time, size and memory."""

from collections.abc import Iterator

from bench.rows.row import Measured, Row, spread
from bench.scale import FEW_MONTHS, median

# Memory counts as flat if twelve times the months take at most this many times as much.
FLAT = 1.1


def ingest(measured: Measured) -> Iterator[Row]:
    """The platform against the bare script; and the size of the lake."""
    m = measured["ingest"]
    yield from _ratios(m, 1.15)
    yield _size(m)


def _size(m: Measured) -> Row:
    ratio = m["lake_bytes"] / m["raw_bytes"]
    return Row(
        f"Size of the lake ÷ size of the raw files, {m['months']} months",
        "<= 1.0",
        f"{ratio:.2f}",
        f"{m['lake_bytes'] / 1e6:,.0f} MB ÷ {m['raw_bytes'] / 1e6:,.0f} MB",
        ratio <= 1.0,
    )


def large_months(measured: Measured) -> Iterator[Row]:
    """The platform against the bare script, with months of the size of TLC's largest."""
    yield from _ratios(measured["ingest_large"], 1.25)
    yield _size(measured["ingest_large"])


def _ratios(m: Measured, most: float) -> Iterator[Row]:
    bare = median(m["bare"]["seconds"])
    for text, key, has_target in (
        ("run, from launch to end", "from_launch", True),
        ("run, from start to end", "from_start", False),
    ):
        ratio = median(m["ours"][key]) / bare
        yield Row(
            f"Ingest {m['months']} months, {m['rows'] / 1e6:,.1f} M rows: {text} ÷ bare script",
            f"<= {most}" if has_target else "",
            f"{ratio:.2f}",
            f"{spread(m['ours'][key])} ÷ {spread(m['bare']['seconds'])}; peak "
            f"{max(m['ours']['largest_mb']):.0f} and {max(m['bare']['largest_mb']):.0f} MB",
            ratio <= most if has_target else None,
        )


def backfill(measured: Measured) -> Iterator[Row]:
    """Months by a backfill against the bare script; the daemon looks for backfills every 5 s."""
    m = measured["backfill"]
    ratio = median(m["from_launch"]) / median(m["bare"])
    yield Row(
        f"Ingest {m['months']} months by a backfill: from the launch of its run ÷ bare script",
        "<= 1.3",
        f"{ratio:.2f}",
        f"{spread(m['from_launch'])} ÷ {spread(m['bare'])}; before it {spread(m['wait'])}",
        ratio <= 1.3,
    )


def usual(measured: Measured) -> Iterator[Row]:
    """The usual set-up against the platform and the bare script."""
    m = measured["usual"]
    run = m["ours_run"]
    backfills = {
        name: {k: [b[k] for b in m[name]] for k in ("to_last_run", "in_runs")}
        for name in ("usual", "ours_backfill")
    }
    usual = backfills["usual"]
    bare = m.get("bare", {"seconds": []})  # not in the results of 2026-11-25
    failed = sum(b["failed_runs"] for b in m["usual"])
    note = f"; {failed} of its runs failed" if failed else ""
    for text, theirs, mine, target in (
        ("backfill request to last run's end ÷ our run, launch to end",
         usual["to_last_run"], run["from_launch"], ">= 10"),
        ("first run's start to last run's end ÷ our run, start to end",
         usual["in_runs"], run["from_start"], ""),
        ("both as a backfill, request to last run's end",
         usual["to_last_run"], backfills["ours_backfill"]["to_last_run"], ""),
        ("backfill request to last run's end ÷ bare script",
         usual["to_last_run"], bare["seconds"], ""),
    ):  # fmt: skip
        if not mine:
            continue
        ratio = median(theirs) / median(mine)
        yield Row(
            f"Usual set-up, {m['months']} months: {text}",
            target,
            f"{ratio:.1f}",
            f"{spread(theirs)} ÷ {spread(mine)}{note}",
            ratio >= 10 if target else None,
        )


def points(measured: Measured) -> Iterator[Row]:
    """A month with points against one with zones."""
    m = measured["points"]
    theirs, later = m["with_points"], m["with_zones"]
    ratio = median(theirs["from_start"]) / median(later["from_start"])
    yield Row(
        f"A month of 2009, {m['rows'] / 1e6:,.1f} M rows with points ÷ one of 2011 with zones",
        "<= 3",
        f"{ratio:.2f}",
        f"{spread(theirs['from_start'])} ÷ {spread(later['from_start'])}; "
        f"peak {max(theirs['largest_mb']):.0f} and {max(later['largest_mb']):.0f} MB",
        ratio <= 3,
    )


def memory(measured: Measured) -> Iterator[Row]:
    """The largest process of each kind of run."""
    points = measured["growth_months"]["points"]
    peaks = {f"{p['months']} month{'s' * (p['months'] > 1)}": max(p["largest_mb"]) for p in points}
    few = next(p for p in points if p["months"] == FEW_MONTHS)
    growth = median(points[-1]["largest_mb"]) / median(few["largest_mb"])
    for name, key in (("weeks", "weeks"), ("requests", "requests")):
        if key in measured:
            peaks[name] = max(measured[key]["largest_mb"])
    if "lake" in measured:
        peaks["one week and zone statistics"] = max(
            max(measured["lake"][k]["largest_mb"]) for k in ("few", "many")
        )
    yield Row(
        "Peak memory of a run (its largest process)",
        "<= 700 MB, flat",
        f"{max(peaks.values()):.0f} MB; {points[-1]['months']} months ÷ 3: {growth:.2f}",
        ", ".join(f"{name} {value:.0f}" for name, value in peaks.items()),
        max(peaks.values()) <= 700 and growth <= FLAT,
    )
