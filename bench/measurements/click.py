"""The portal in Chromium: from the click on Create report to the chart on the page."""

import time
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from bench.measurements.portal import serve_portal
from bench.measurements.requests import make_lake_without_reports
from bench.ours import start_platform
from bench.scale import Bench
from taxi_platform.graphql import JobSubset
from taxi_testing.browser import find_chromium

CLICKS = 10
CATALOG = JobSubset("__ASSET_JOB", ("available_data",))
TIMEOUT_MS = 60_000


def measure_clicks(bench: Bench) -> dict[str, Any]:
    """Ask for reports one after another, on a lake of three months."""
    data = make_lake_without_reports(bench)
    seconds = []
    with (
        start_platform(bench.work / "home", data) as ours,
        serve_portal(data) as port,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_chromium()) as browser,
    ):
        ours.run("adhoc_reports", CATALOG)
        page = browser.new_page()
        for number in range(1 + CLICKS):
            value = _click(page, f"http://127.0.0.1:{port}", number)
            bench.log(f"click {number} of {CLICKS}: {value:.2f} s")
            seconds.append(value)
    return {"first": seconds[0], "seconds": seconds[1:]}


def _click(page: Page, url: str, number: int) -> float:
    """Fill in the form and send it; returns the seconds from the click to the chart."""
    page.goto(url)
    page.get_by_label("Area").fill("Manhattan")
    page.get_by_label("First day").fill("2023-01-10")
    page.get_by_label("Last day").fill(f"2023-01-{17 + number}")
    page.get_by_label("Name").fill(f"bench_click_{number:04}")
    begin = time.perf_counter()
    page.get_by_role("button", name="Create report").click()
    expect(page.locator("#heatmap")).to_be_visible(timeout=TIMEOUT_MS)
    page.wait_for_function("document.querySelector('img.chart').naturalWidth > 0")
    return round(time.perf_counter() - begin, 3)
