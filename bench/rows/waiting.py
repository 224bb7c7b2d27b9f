"""Waiting times: requests, the portal, weeks, start-up."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.rows.row import Measured, Row, quantile, spread
from bench.scale import HISTORY_ROWS, median


def requests(measured: Measured) -> Iterator[Row]:
    """Requests one by one, and all at once; each beside runs that start cold."""
    m, cold = measured["requests"], measured["requests"]["cold"]
    p50, p95 = quantile(m["single"], 0.5), quantile(m["single"], 0.95)
    yield Row(
        f"Request file written → chart on disk, {len(m['single'])} one by one",
        "p50 <= 1.2 s, p95 <= 1.8 s",
        f"p50 {p50:.1f} s, p95 {p95:.1f} s",
        f"{min(m['single']):.1f} … {max(m['single']):.1f} s; cold: "
        f"p50 {quantile(cold['single'], 0.5):.1f} s, p95 {quantile(cold['single'], 0.95):.1f} s",
        p50 <= 1.2 and p95 <= 1.8,
    )
    last = max(m["at_once"])
    yield Row(
        f"{len(m['at_once']) + m['lost']} requests written at once",
        "<= 25 s, none lost or duplicated",
        f"{last:.1f} s, {m['lost']} lost, {m['duplicated']} duplicated",
        f"first after {min(m['at_once']):.1f} s, half after {median(m['at_once']):.1f} s; "
        f"cold: {max(cold['at_once']):.1f} s",
        last <= 25 and not m["lost"] and not m["duplicated"],
    )
    yield Row(
        "Memory of the three warm parents",
        "<= 300 MB",
        f"{sum(m['parents_mb']):.0f} MB",
        ", ".join(f"{each:.0f}" for each in m["parents_mb"]) + " MB; shared pages in parts (PSS)",
        sum(m["parents_mb"]) <= 300,
    )


def flood(measured: Measured) -> Iterator[Row]:
    """Thousands of requests at once, and a load meanwhile."""
    m = measured["flood"]
    per_minute = 60 * (m["requests"] - m["lost"]) / m["seconds"]
    yield Row(
        f"{m['requests']:,} requests written at once: reports per minute",
        ">= 120, none lost or duplicated",
        f"{per_minute:.0f}, {m['lost']} lost, {m['duplicated']} duplicated",
        f"all done after {m['seconds']:.0f} s",
        per_minute >= 120 and not m["lost"] and not m["duplicated"],
    )
    yield Row(
        f"{m['requests']:,} requests written at once: a load meanwhile starts",
        "<= 10 s",
        f"{m['load_started_after']:.1f} s",
        "launched when half of the charts were there",
        m["load_started_after"] <= 10,
    )


def click(measured: Measured) -> Iterator[Row]:
    """The portal, from a click to a chart."""
    seconds = measured["click"]["seconds"]
    yield Row(
        "Report portal in Chromium: click on Create report → chart on the page",
        "p50 <= 2 s",
        f"p50 {median(seconds):.1f} s",
        spread(seconds),
        median(seconds) <= 2,
    )


def portal(measured: Measured) -> Iterator[Row]:
    """Pages with many reports, and the portal's health meanwhile."""
    m = measured["portal"]
    slowest = {page: quantile(values, 0.95) for page, values in m["pages"].items()}
    page = max(slowest, key=lambda name: slowest[name])
    yield Row(
        f"Report portal with {m['reports']:,} reports: the slowest page",
        "p95 <= 100 ms",
        f"p95 {slowest[page]:.0f} ms",
        f"`{page}`; of {len(slowest)} pages, {len(m['pages'][page])} each",
        slowest[page] <= 100,
    )
    health = quantile(m["health"], 0.95)
    yield Row(
        f"Report portal: `/healthz` while {m['clients']} clients load all pages",
        "p95 <= 100 ms",
        f"p95 {health:.0f} ms",
        f"slowest {max(m['health']):.0f} ms, n = {len(m['health'])}",
        health <= 100,
    )


def lake(measured: Measured) -> Iterator[Row]:
    """One week in a small and in a large lake, with and without Dagster."""
    yield from _one_week(measured["lake"])


def history(measured: Measured) -> Iterator[Row]:
    """A lake of many months: how long it takes to load, one week of it, and all weeks."""
    m = measured["history"]
    if m["rows"] > HISTORY_ROWS:  # else runs take as long as their start
        months, seconds = m["many"]["months"], sum(m["ingest"])
        yield Row(
            f"Ingest {months} months, {months * m['rows'] / 1e6:,.0f} M rows, a run per year",
            "<= 480 s on 16 cores",
            f"{seconds:.0f} s",
            f"{spread(m['ingest'])}; lake {m['lake_bytes'] / 1e9:.1f} GB",
            None,
        )
        yield Row(
            f"Zone statistics of these {months} months, step",
            "–",
            f"{median(m['many']['all']):.1f} s",
            f"{spread(m['many']['all'])}; peak {max(m['many']['largest_mb']):.0f} MB",
            None,
        )
    yield from _one_week(m)
    weeks, seconds = m["all_weeks"], median(m["all_weeks"]["in_run"])
    yield Row(
        f"{weeks['weeks']} weeks of {m['many']['months']} months with {m['rows']:,} rows each",
        "<= 60 s in the run",
        f"{seconds:.1f} s",
        f"{spread(weeks['in_run'])}; from the request {spread(weeks['to_last_run'])}; "
        f"peak {max(weeks['largest_mb']):.0f} MB",
        seconds <= 60,
    )


def _one_week(m: Mapping[str, Any]) -> Iterator[Row]:
    few, many = m["few"], m["many"]
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


def weeks(measured: Measured) -> Iterator[Row]:
    """All weeks in one backfill."""
    m = measured["weeks"]
    seconds = median(m["in_run"])
    yield Row(
        f"{m['weeks']} weeks in one backfill ({m['runs']} run)",
        "<= 30 s in the run",
        f"{seconds:.1f} s",
        f"{spread(m['in_run'])}; from the request {spread(m['to_last_run'])}",
        seconds <= 30,
    )


def dev(measured: Measured) -> Iterator[Row]:
    """`make dev`."""
    seconds = measured["dev"]["seconds"]
    yield Row(
        "`make dev`: from the command to all three locations loaded, warm",
        "<= 8 s",
        f"{median(seconds):.1f} s",
        spread(seconds),
        median(seconds) <= 8,
    )


def imports(measured: Measured) -> Iterator[Row]:
    """Each location against `dagster` alone."""
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
            with_settings = times["dagster_with_gc_settings"]
            yield Row(
                f"Import of `{location}.definitions` ÷ `import dagster`, both with our GC settings",
                "",
                f"{median(times['definitions']) / median(with_settings):.2f}",
                f"{spread(times['definitions'], 2)} ÷ {spread(with_settings, 2)}",
                None,
            )
