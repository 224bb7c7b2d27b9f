"""What a person sees of the locations in containers, in a real browser."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from taxi_platform.workspace import locations
from tests.containers.conftest import Stack

NAMES = [location.name for location in locations()]
SLOW = 30_000  # milliseconds


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Page]:
    program = shutil.which("chromium")
    if not program:
        pytest.skip("Chromium is not installed: `apt-get install chromium`")
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(
            base_url=f"http://127.0.0.1:{stack.port}", viewport={"width": 1500, "height": 900}
        )
        page.set_default_timeout(SLOW)
        yield page
        browser.close()


def test_the_locations_are_loaded_with_their_images_and_reload(stack: Stack, page: Page):
    page.goto("/deployment/locations")
    for name in NAMES:
        row = page.get_by_role("row").filter(has_text=re.compile(rf"\b{name}\b"))
        expect(row.or_(page.get_by_text(name, exact=True)).first).to_be_visible()
        expect(page.get_by_text(f"{stack.project}-{name}:", exact=False).first).to_be_visible()
    expect(page.get_by_text("Loaded")).to_have_count(len(NAMES))
    page.get_by_role("button", name="Reload", exact=True).first.click()
    expect(
        page.get_by_text(re.compile("reloaded|Code location.*(updated|loaded)", re.I)).first
    ).to_be_visible()
    expect(page.get_by_text("Loaded")).to_have_count(len(NAMES))


def test_the_lineage_crosses_the_locations(page: Page):
    page.goto("/asset-groups")
    for asset in ("taxi_trips", "trips_by_week", "adhoc_request"):
        expect(page.get_by_text(asset, exact=True).first).to_be_visible()
