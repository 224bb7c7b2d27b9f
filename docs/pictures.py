"""Takes the pictures of the README and the docs from a real instance with the sample of the demo.

    .venv/bin/python docs/pictures.py

Needs Chromium (`apt-get install chromium`).
"""

import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, FloatRect, Page, sync_playwright
from rich.console import Console

from taxi_platform import demo
from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance, free_port
from taxi_platform.pipeline import Pipeline, Run
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS
from taxi_testing.browser import find_chromium

PICTURES = ROOT / "docs" / "pictures"
OUTPUTS = ("manhattan_map.png", f"{demo.REPORT}.png")


def main() -> None:
    """Run the demo, and take all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        home, data = Path(folder, "home"), Path(folder, "data")
        demo.make_sample(data, 300_000, Console())
        settings = demo.environment(data)
        with Instance(home, portal_port=free_port(), environment=settings) as instance:
            demo.run(instance, data, Console())
            with sync_playwright() as browsers:
                browser = browsers.chromium.launch(executable_path=find_chromium())
                page = browser.new_page(viewport={"width": 1500, "height": 780})
                lineage(page, instance.url)
                locations(page, instance.url)
                partitions(page, instance.url)
                checks(page, instance.url)
                restored_month(page, instance, data)
                plots(page, instance.url)
                portal(browser, str(instance.portal_url), data)
                browser.close()
        for name in OUTPUTS:
            shutil.copyfile(data / "outputs" / name, PICTURES / name)


def lineage(page: Page, url: str) -> None:
    """The assets of all locations in one graph."""
    # Large enough to show all nodes with their texts.
    page.set_viewport_size({"width": 2300, "height": 1720})
    page.goto(f"{url}/asset-groups")
    page.get_by_text("Hide navigation").click()
    page.wait_for_timeout(6000)
    page.keyboard.press("Alt+e")  # expands all groups
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "lineage.png")
    page.set_viewport_size({"width": 1500, "height": 600})


def locations(page: Page, url: str) -> None:
    """The page Deployment > Code locations."""
    page.goto(f"{url}/locations")
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "locations.png")


def partitions(page: Page, url: str) -> None:
    """The partitions of an asset, by month."""
    page.goto(f"{url}/assets/taxi_trips?view=partitions")
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "partitions.png")


def checks(page: Page, url: str) -> None:
    """The checks of an asset."""
    page.goto(f"{url}/assets/taxi_trips?view=checks")
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "checks.png")


def restored_month(page: Page, instance: Instance, data: Path) -> None:
    """The page of a month whose file was replaced and loaded, after a rollback."""
    months = MonthRange.between("2023-02", "2023-02")
    partition = months.first.isoformat()
    write_sample(data / "source", months.months, 250_000)
    pipeline = Pipeline(instance, Console())
    pipeline.ingest(months)
    history = Lake(DataRoot.at(str(data))).history(TRIPS)
    *_, first = [each for each in history if each.details.get("month") == "2023-02"]
    run_id = instance.graphql.launch(
        "ingestion",
        JobSubset("trip_update_job", ("taxi_trips",)),
        tags={"dagster/partition": partition},
        run_config={"ops": {"taxi_trips": {"config": {"roll_back_to": first.version}}}},
    )
    pipeline.run(Run("rollback", run_id))
    page.set_viewport_size({"width": 1500, "height": 900})
    page.goto(f"{instance.url}/assets/taxi_trips?view=partitions&partition={partition}")
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "restored_month.png")
    page.set_viewport_size({"width": 1500, "height": 600})


def plots(page: Page, url: str) -> None:
    """The plots of an asset's metadata over its partitions."""
    page.set_viewport_size({"width": 1500, "height": 800})
    page.goto(f"{url}/assets/taxi_trips?view=overview")
    page.get_by_text("Plots", exact=True).click()
    page.wait_for_timeout(3000)
    page.get_by_text("exact duplicates", exact=True).scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    page.screenshot(path=PICTURES / "plots.png")


def portal(browser: Browser, url: str, data: Path) -> None:
    """The report portal: form, report, charts of each kind, all reports, a phone in dark mode."""
    page = browser.new_page(viewport={"width": 1100, "height": 860})
    for kind, area in (
        ("flows", "JFK Airport, Queens"),
        ("trend", "Brooklyn"),
        ("map", "Manhattan"),
        ("hours", "New York City"),
    ):
        page.goto(f"{url}/?kind={kind}")
        page.get_by_label("Area").fill(area)
        page.get_by_label("First day").fill("2023-01-01")
        page.get_by_label("Last day").fill("2023-03-31")
        page.get_by_role("button", name="Create report").click()
        page.locator("img.chart").wait_for(timeout=60_000)
        name = unquote(urlsplit(page.url).path.rpartition("/")[2])
        if kind != "hours":  # its page has another picture
            shutil.copyfile(data / "outputs" / f"{name}.png", PICTURES / f"report_{kind}.png")
    whole_until = _size_until(page, "section[aria-labelledby=chart]")
    page.locator("#heatmap canvas").hover(position={"x": 800, "y": 190})
    page.screenshot(path=PICTURES / "portal_report.png", clip=whole_until)
    report = page.url
    page.set_viewport_size({"width": 1100, "height": 860})
    page.goto(url)
    page.screenshot(path=PICTURES / "portal_ask.png", full_page=True)
    (data / "requests" / "by hand.json").write_text(
        '{"borough": "Atlantis", "start_date": "2023-01-10"}'
    )
    page.wait_for_timeout(15_000)
    page.goto(f"{url}/reports")
    page.screenshot(path=PICTURES / "portal_find.png", full_page=True)
    phone = browser.new_context(
        viewport={"width": 390, "height": 860}, color_scheme="dark", device_scale_factor=2
    ).new_page()
    phone.goto(report)
    phone.screenshot(
        path=PICTURES / "portal_phone.png", clip=_size_until(phone, "#heatmap ~ .legend")
    )


def _size_until(page: Page, last: str) -> FloatRect:
    """Resize the window to the end of an element; returns the area from the top of the page."""
    box, window = page.locator(last).bounding_box(), page.viewport_size
    if box is None or window is None:
        raise LookupError(f"{last} is not visible on {page.url}")
    width, height = window["width"], round(box["y"] + box["height"]) + 12
    page.set_viewport_size({"width": width, "height": height})
    return {"x": 0, "y": 0, "width": width, "height": height}


if __name__ == "__main__":
    main()
