"""What a person sees of the locations in containers, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from taxi_platform.workspace import locations
from tests.containers.conftest import Stack

NAMES = [location.name for location in locations()]
SLOW = 30_000  # milliseconds
expect.set_options(timeout=SLOW)  # the page's default does not hold for `expect`


@pytest.fixture(scope="module")
def page(stack: Stack, chromium: str) -> Iterator[Page]:
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            base_url=f"http://127.0.0.1:{stack.port}", viewport={"width": 1500, "height": 900}
        )
        page.set_default_timeout(SLOW)
        yield page
        browser.close()


def test_ui_shows_locations_with_images_and_reloads_them(stack: Stack, page: Page) -> None:
    page.goto("/deployment/locations")
    for name in NAMES:
        row = page.get_by_role("row").filter(has_text=re.compile(rf"\b{name}\b"))
        expect(row.or_(page.get_by_text(name, exact=True)).first).to_be_visible()
        expect(page.get_by_text(f"{stack.project}-{name}:", exact=False).first).to_be_visible()
    expect(page.get_by_text("Loaded")).to_have_count(len(NAMES))
    toast = page.get_by_text(re.compile("(Code location|Definitions) reloaded!"))
    expect(toast).to_have_count(0)
    before = loaded_at(stack)
    page.get_by_text("Reload", exact=True).first.click()
    expect(toast.first).to_be_visible()  # the location imports Dagster again
    after = loaded_at(stack)
    assert [name for name in NAMES if after[name] > before[name]], "one was loaded again"
    expect(page.get_by_text("Loaded")).to_have_count(len(NAMES))


def loaded_at(stack: Stack) -> dict[str, float]:
    entries = stack.graphql.ask(
        """{ workspaceOrError { ... on Workspace { locationEntries {
            name updatedTimestamp } } } }"""
    )["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["updatedTimestamp"] for entry in entries}


@pytest.mark.parametrize("asset", ["trips_by_week", "adhoc_request"])
def test_the_lineage_crosses_the_locations(stack: Stack, page: Page, asset: str) -> None:
    page.goto(f"/assets/{asset}?view=lineage&lineageScope=upstream")
    for name in (asset, "taxi_trips"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    found = stack.graphql.ask(
        """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
            ... on AssetNode { dependencyKeys { path } } } }""",
        key={"path": [asset]},
    )["assetNodeOrError"]["dependencyKeys"]
    assert {"path": ["taxi_trips"]} in found
