"""Makes the pictures of the README and the docs: `make demo` data, seen in the real UI.

    .venv/bin/python docs/pictures.py

Needs Chromium (`apt-get install chromium`) and what `make demo EXIT=1` leaves behind.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from taxi_platform import demo
from taxi_platform.instance import run_instance
from taxi_platform.workspace import ROOT

PICTURES = ROOT / "docs" / "pictures"
OUTPUTS = ("manhattan_map.png", f"{demo.REQUEST}.png")


def main() -> None:
    data = ROOT / "data" / "demo"
    demo.make_sample(data, 300_000, Console())
    with tempfile.TemporaryDirectory() as home:
        settings = demo.environment(data)
        with run_instance(Path(home), environment=settings) as instance:
            demo.run(instance, data, Console())
            with sync_playwright() as browsers:
                browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
                page = browser.new_page(viewport={"width": 1500, "height": 780})
                lineage(page, instance.url)
                locations(page, instance.url)
                partitions(page, instance.url)
                tab(page, instance.url, "plots", 900)
                tab(page, instance.url, "checks", 600)
                browser.close()
    for name in OUTPUTS:
        shutil.copyfile(data / "outputs" / name, PICTURES / name)


def lineage(page: Page, url: str) -> None:
    """The assets of all locations in one graph."""
    page.set_viewport_size({"width": 2300, "height": 1240})  # wide enough to show what is in a node
    page.goto(f"{url}/asset-groups")
    page.get_by_text("Hide navigation").click()
    page.wait_for_timeout(6000)
    page.keyboard.press("Alt+e")  # expands all groups
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "lineage.png")
    page.set_viewport_size({"width": 1500, "height": 600})


def locations(page: Page, url: str) -> None:
    """Deployment > Code locations."""
    page.goto(f"{url}/locations")
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "locations.png")


def partitions(page: Page, url: str) -> None:
    """The months of an asset."""
    page.goto(f"{url}/assets/taxi_trips?view=partitions")
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "partitions.png")


def tab(page: Page, url: str, name: str, height: int) -> None:
    """Another tab of the same asset."""
    page.set_viewport_size({"width": 1500, "height": height})
    page.goto(f"{url}/assets/taxi_trips?view={name}")
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
