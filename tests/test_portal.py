"""The report portal in a real browser, on a running instance: ask, watch, look, find."""

import json
import os
import re
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance, InstanceError, free_port
from taxi_platform.pipeline import Pipeline
from taxi_platform.sample import write_sample
from taxi_platform.workspace import locations
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIPS
from tests.waiting import wait_for

pytestmark = pytest.mark.browser

MONTHS = MonthRange.between("2023-01", "2023-03")
KINDS = ("trend", "compare", "flows", "map")  # beside the heat map
ANSWERED = 90_000  # milliseconds, of which a machine that is busy may need some
expect.set_options(timeout=30_000)  # for the same reason
NOT_LOOKING = "The platform is not looking for requests at the moment"
CLIENTS, SENT = 5, 20  # bench/ measures 200 requests


@dataclass
class Site:
    """A portal, and the Dagster that it asks, each of which can be stopped and started."""

    base: Path
    dagster_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    instance: Instance | None = None
    _dagster: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "TAXI_DATA_ROOT": str(self.data),
            "TLC_SOURCE_URL": str(self.base / "source"),
            "TAXI_ZONES_URL": str(self.base / "source" / "misc" / "taxi_zones.csv"),
            "TAXI_START_DATE": MONTHS.first.isoformat(),
            "TAXI_END_DATE": MONTHS.end.isoformat(),
            "DAGSTER_PUBLIC_URL": f"http://127.0.0.1:{self.dagster_port}",
        }

    def drop_request(self, name: str, content: str) -> None:
        folder = self.data / "requests"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(content)

    def start_dagster(self) -> Instance:
        self.instance = self._dagster.enter_context(
            Instance(self.base / "home", port=self.dagster_port, environment=self.environment)
        )
        return self.instance

    def stop_dagster(self) -> None:
        self._dagster.close()
        self.instance = None

    def start_portal(self) -> "subprocess.Popen[bytes]":
        (reporting,) = (each for each in locations() if each.name == "adhoc_reports")
        with (self.base / "portal.log").open("ab") as log:
            return subprocess.Popen(
                [str(reporting.python), "-m", "adhoc_reports.portal", "--port", str(self.port)],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )

    def api(self, path: str) -> Any:
        return requests.get(f"{self.url}/api/{path}", timeout=30).json()

    def runs(self) -> Counter[str]:
        """How many runs each request has had."""
        assert self.instance
        found = self.instance.graphql.ask(
            """query ($tags: [ExecutionTag!]) {
                runsOrError(filter: {pipelineName: "adhoc_request_job", tags: $tags}, limit: 1000) {
                  ... on Runs { results { tags { key value } } } } }""",
            tags=[{"key": "dagster/code_location", "value": "adhoc_reports"}],
        )["runsOrError"]["results"]
        tags = (tag for run in found for tag in run["tags"])
        return Counter(tag["value"] for tag in tags if tag["key"] == "dagster/partition")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The portal and an instance with three months of synthetic trips in the lake."""
    site = Site(tmp_path_factory.mktemp("portal"))
    write_sample(site.base / "source", MONTHS.months, 5_000)
    portal = site.start_portal()
    try:
        pipeline = Pipeline(site.start_dagster(), Console(quiet=True))
        pipeline.wait_for_locations()
        pipeline.ingest(MONTHS)
        wait_for(
            lambda: len(site.api("available").get("months", [])) == 3,
            "the catalog of loaded months",
        )
        yield site
    finally:
        site.stop_dagster()
        portal.terminate()
        portal.wait(30)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page that fails the test where a script fails, or anything asks another host."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page, wrong = _watched(context, site)
    yield page
    context.close()
    assert wrong == []


def _watched(context: BrowserContext, site: Site) -> tuple[Page, list[str]]:
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Policy" in said.text else None)
    page.on("request", lambda r: None if r.url.startswith(site.url) else wrong.append(r.url))
    return page, wrong


def fill_in(page: Page, area: str, first_day: str, last_day: str, name: str = "") -> None:
    page.get_by_label("Area").fill(area)
    page.get_by_label("First day").fill(first_day)
    page.get_by_label("Last day").fill(last_day)
    page.get_by_label("Name").fill(name)


def point_at(page: Page, weekday: int, hour: int) -> None:
    """Move the pointer to a cell of the heat map."""
    place = page.evaluate(
        """place => {
            const chart = Chart.getChart(document.querySelector("#heatmap canvas"));
            return chart.getDatasetMeta(0).data[place].getCenterPoint(); }""",
        weekday * 24 + hour,
    )
    page.locator("#heatmap canvas").hover(position=place)


def colour_at(page: Page, weekday: int, hour: int) -> list[int]:
    """Red, green, blue and alpha in a cell of the heat map, beside its middle."""
    colour: list[int] = page.evaluate(
        """place => {
            const chart = Chart.getChart(document.querySelector("#heatmap canvas"));
            const { x, y } = chart.getDatasetMeta(0).data[place].getCenterPoint();
            const ratio = chart.currentDevicePixelRatio;
            return [...chart.ctx.getImageData(x * ratio, y * ratio, 1, 1).data]; }""",
        weekday * 24 + hour,
    )
    return colour


def send(page: Page) -> None:
    page.get_by_role("button", name="Create report").click()


def violations(page: Page) -> list[str]:
    """What axe-core finds, serious or not."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


def test_ask_watch_and_look(site: Site, page: Page) -> None:
    page.goto(site.url)
    fill_in(page, "Queens/JFK Airport", "2023-01-10", "2023-02-05", "airport")
    send(page)
    page.wait_for_url(f"{site.url}/reports/airport")
    expect(page.get_by_role("list", name="Progress")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    assert page.evaluate("window.sameDocument") is True  # it appeared without a reload

    written = json.loads((site.data / "requests" / "airport.json").read_text())
    assert written == {
        "borough": "Queens",
        "zone": "JFK Airport",
        "start_date": "2023-01-10",
        "end_date": "2023-02-06",
    }
    heading = "Yellow taxi pickups in JFK Airport, Queens"
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    assert page.locator("img.chart").evaluate("image => image.complete && image.naturalWidth > 0")
    cells = [row.split(",")[1:] for row in _csv(site, "airport").splitlines()[1:]]
    page.get_by_role("radio", name="Total of all days").check()
    shown = page.locator("#numbers ~ .scroll:visible tbody tr").all_inner_texts()
    assert [row.replace(",", "").split()[1:] for row in shown] == cells
    run = page.locator("dt:has-text('Run in Dagster') + dd a").get_attribute("href")
    assert run
    assert run.startswith(f"http://127.0.0.1:{site.dagster_port}/runs/")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download totals as CSV").click()
    assert Path(download.value.path()).read_text() == _csv(site, "airport")


def test_the_same_request_sent_twice_is_one_report_and_one_run(site: Site, page: Page) -> None:
    for _ in range(2):
        page.goto(site.url)
        fill_in(page, "Brooklyn", "2023-01-01", "2023-01-31")
        send(page)
        page.wait_for_url(f"{site.url}/reports/brooklyn_2023-01-01_2023-01-31")
        expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    assert site.runs()["brooklyn_2023-01-01_2023-01-31"] == 1


def test_what_is_impossible_cannot_be_sent(site: Site, page: Page) -> None:
    page.goto(site.url)
    fill_in(page, "Manhattan", "2022-12-31", "2023-01-31")
    send(page)
    assert page.get_by_label("First day").evaluate("field => field.validity.rangeUnderflow")
    fill_in(page, "Manhattan", "2023-02-10", "2023-02-09")
    send(page)
    assert page.get_by_label("Last day").evaluate("field => field.validity.rangeUnderflow")
    for name in ("a/b", "a\\b", ".a"):
        fill_in(page, "Manhattan", "2023-02-10", "2023-02-11", name)
        send(page)
        assert page.get_by_label("Name").evaluate("field => field.validity.patternMismatch")
    assert page.url == f"{site.url}/"


def test_days_of_a_month_that_is_not_there_cannot_be_sent(site: Site, page: Page) -> None:
    def without_february(route: Route) -> None:
        text = route.fetch().text()
        route.fulfill(body=text.replace('data-gaps=""', 'data-gaps="2023-02 "'))

    page.route(f"{site.url}/", without_february)
    page.goto(site.url)
    fill_in(page, "Manhattan", "2023-01-10", "2023-03-02")
    send(page)
    last_day = page.get_by_label("Last day")
    assert (
        last_day.evaluate("field => field.validationMessage")
        == "Not loaded: February 2023. Choose other days."
    )
    assert page.url == f"{site.url}/"
    fill_in(page, "Manhattan", "2023-03-01", "2023-03-02")
    assert last_day.evaluate("field => field.validity.valid")


def test_trend_may_have_a_missing_month_inside(site: Site, page: Page) -> None:
    def without_february(route: Route) -> None:
        text = route.fetch().text()
        route.fulfill(body=text.replace('data-gaps=""', 'data-gaps="2023-02 "'))

    page.route(f"{site.url}/?kind=trend", without_february)
    page.goto(f"{site.url}/?kind=trend")
    last_day = page.get_by_label("Last day")
    fill_in(page, "Manhattan", "2023-01-10", "2023-03-02")
    assert last_day.evaluate("field => field.validity.valid")
    fill_in(page, "Manhattan", "2023-01-10", "2023-02-02")
    assert last_day.evaluate("field => field.validity.customError")


def test_days_are_those_of_the_chosen_service(site: Site, page: Page) -> None:
    green = (
        '<span data-service="green" data-first="2024-01-01" data-last="2024-03-31" data-gaps="">'
    )

    def with_green(route: Route) -> None:
        text = route.fetch().text()
        text = text.replace(
            "<span data-service", f"{green}Green taxi data</span> <span data-service"
        )
        option = '<option value="yellow"'
        route.fulfill(
            body=text.replace(option, f'<option value="green">Green taxi</option>{option}')
        )

    page.route(f"{site.url}/", with_green)
    page.goto(site.url)
    expect(page.get_by_text("Green taxi data")).to_be_hidden()
    page.get_by_label("Service").select_option("green")
    expect(page.get_by_text("Green taxi data")).to_be_visible()
    expect(page.locator("[data-service=yellow]")).to_be_hidden()
    fill_in(page, "Manhattan", "2024-01-10", "2024-03-02")
    assert page.locator("#create").evaluate("form => form.checkValidity()")
    fill_in(page, "Manhattan", "2023-01-10", "2023-01-20")
    assert page.get_by_label("First day").evaluate("field => field.validity.rangeUnderflow")


def test_preset_and_kind_keep_what_is_typed(site: Site, page: Page) -> None:
    page.goto(site.url)
    fill_in(page, "Queens", "2023-01-02", "2023-01-08", "typed")
    page.get_by_role("button", name="Last Sunday to Saturday").press("Enter")
    expect(page.get_by_label("First day")).to_have_value("2023-03-19")
    expect(page.get_by_label("Last day")).to_have_value("2023-03-25")
    assert page.url == f"{site.url}/"
    page.get_by_role("button", name="Compare two areas").click()
    expect(page.get_by_label("Compare with area")).to_be_visible()
    assert page.locator("#area").input_value() == "Queens"
    assert page.locator("#last_day").input_value() == "2023-03-25"
    assert page.locator("#name").input_value() == "typed"


def test_a_run_that_failed_says_why_in_plain_words_and_is_tried_again(
    site: Site, page: Page
) -> None:
    march = Lake(DataRoot.at(str(site.data))).snapshot().files(TRIPS)["2023-03-01"].path
    whole = march.read_bytes()
    march.write_bytes(b"damaged" * 100)
    try:
        page.goto(site.url)
        fill_in(page, "Manhattan", "2023-03-10", "2023-03-20", "damaged")
        send(page)
        expect(page.locator(".notice.bad")).to_contain_text(
            "A file of the trips is damaged.", timeout=ANSWERED
        )
        assert str(site.data) not in page.locator("main").inner_text()
        page.get_by_text("Error details").click()
        expect(page.locator("details")).to_contain_text("parquet")
        page.goto(f"{site.url}/reports?q=damaged")
        expect(page.locator(".card")).to_contain_text("A file of the trips is damaged.")
        page.get_by_role("link", name="Manhattan").click()
    finally:
        march.write_bytes(whole)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    assert site.runs()["damaged"] == 2


def test_the_heat_map_follows_light_and_dark_and_the_width_of_the_screen(
    site: Site, page: Page
) -> None:
    _report(site)
    page.emulate_media(color_scheme="light")
    page.goto(f"{site.url}/reports/seen")
    expect(page.locator("#heatmap canvas")).to_be_visible()
    light = colour_at(page, 3, 8)
    page.emulate_media(color_scheme="dark")
    wait_for(lambda: colour_at(page, 3, 8) != light, "the colours of the dark")
    page.set_viewport_size({"width": 390, "height": 800})
    hours_are_rows = """() => {
        const [midnight, one] = Chart.getChart(document.querySelector("#heatmap canvas"))
            .getDatasetMeta(0).data;
        return midnight.x === one.x && midnight.y < one.y; }"""
    wait_for(lambda: page.evaluate(hours_are_rows), "the hours to be rows")
    point_at(page, weekday=5, hour=17)
    expect(page.locator("#readout-averages")).to_contain_text("Friday, 17 to 18 h: ")
    page.locator("#heatmap").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#readout-averages")).to_contain_text("Friday, 18 to 19 h: ")
    expect(page.locator("#readout-averages")).to_be_in_viewport()


def test_totals_and_averages_are_switched_by_keyboard(site: Site, page: Page) -> None:
    _report(site)
    page.goto(f"{site.url}/reports/seen")
    averages, totals = page.locator("#heatmap"), page.locator("#heatmap-totals")
    expect(averages).to_be_visible()
    expect(totals).to_be_hidden()
    page.get_by_role("radio", name="Average per hour of each weekday").focus()
    page.keyboard.press("ArrowRight")
    expect(totals).to_be_visible()
    expect(averages).to_be_hidden()
    assert page.locator("#numbers ~ .scroll:visible caption").all_inner_texts() == [
        "Total of all days"
    ]
    while page.evaluate("document.activeElement.id") != "heatmap-totals":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    cells = _csv(site, "seen").splitlines()[2].split(",")
    expect(page.locator("#readout-totals")).to_have_text(
        f"Sunday, 1 to 2 h: {int(cells[1]):,} in total"
    )
    assert violations(page) == []


def test_one_day_is_shown_as_bars(site: Site, page: Page) -> None:
    question = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-11"}
    requests.post(f"{site.url}/api/requests", json={**question, "name": "day"}, timeout=30)
    wait_for(lambda: site.api("reports/day")["state"] == "done", "a report")
    page.goto(f"{site.url}/reports/day")
    expect(page.locator("#bars")).to_be_visible()
    assert page.locator("#bars rect").count() == 24
    assert page.locator(".heatmap").count() == 0
    assert violations(page) == []


def test_a_page_that_waits_tells_of_trouble_and_of_its_end(site: Site, page: Page) -> None:
    question = {"borough": "Bronx", "start_date": "2023-01-01", "end_date": "2023-01-03"}
    site.stop_dagster()
    _let_a_minute_pass(site)
    try:
        requests.post(f"{site.url}/api/requests", json={**question, "name": "w"}, timeout=30)
        followed = re.compile(r"/api/reports/w\?known=")
        page.route(followed, lambda route: route.abort())
        page.goto(f"{site.url}/reports/w")
        expect(page.locator("#live")).to_have_text(
            "The portal cannot be reached. This page updates when it is back.", timeout=30_000
        )
        page.unroute(followed)
        expect(page.locator("#live")).to_be_empty(timeout=30_000)
        expect(page.locator("main .notice")).to_contain_text(NOT_LOOKING)
    finally:
        site.start_dagster()
    page.evaluate("window.sameRegion = document.getElementById('live')")
    expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    expect(page.locator("#live")).to_contain_text("Done")
    assert page.evaluate("window.sameRegion === document.getElementById('live')")


def test_a_rejected_request_is_found_with_its_reason(site: Site, page: Page) -> None:
    site.drop_request("atlantis", '{"borough": "Atlantis"}')
    wait_for((site.data / "outputs" / "atlantis.json").exists, "the outcome of the file")
    # The portal shows a list that may be a second old.
    wait_for(lambda: site.api("reports/atlantis").get("state") == "rejected", "its rejection")
    page.goto(f"{site.url}/reports")
    page.get_by_label("Rejected only").check()
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="atlantis").click()
    expect(page.locator(".notice.bad")).to_contain_text("borough is 'Atlantis'; expected one of")


def test_a_zone_that_is_not_there_fails_in_plain_words(site: Site, page: Page) -> None:
    question = {"borough": "Queens", "zone": "Soho", "start_date": "2023-01-10"}
    site.drop_request("by hand", json.dumps({**question, "end_date": "2023-01-11"}))
    page.goto(site.url)
    wait_for(lambda: site.api("reports/by hand").get("state") == "rejected", "its rejection")
    page.goto(f"{site.url}/reports/by hand")
    expect(page.locator(".notice.bad")).to_contain_text("which Queens does not have; expected one")


def test_with_dagster_stopped_a_request_is_kept_and_answered_later(site: Site, page: Page) -> None:
    site.stop_dagster()
    _let_a_minute_pass(site)
    try:
        page.goto(site.url)
        expect(page.locator(".notice")).to_contain_text(NOT_LOOKING)
        fill_in(page, "Bronx", "2023-01-10", "2023-01-20", "kept")
        send(page)
        page.wait_for_url(f"{site.url}/reports/kept")
        expect(page.locator("[aria-current=step]")).to_have_text("Received")
        expect(page.locator(".notice")).to_contain_text("Requests are kept")
    finally:
        site.start_dagster()
    expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    expect(page.locator(".notice")).to_have_count(0)
    assert site.runs()["kept"] == 1


def test_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    while page.evaluate("document.activeElement.id") != "area":
        page.keyboard.press("Tab")
    page.keyboard.type("Manhattan")
    page.keyboard.press("Tab")
    page.keyboard.type("02012023")
    while page.evaluate("document.activeElement.id") != "last_day":
        page.keyboard.press("Tab")
    page.keyboard.type("02282023")
    while page.evaluate("document.activeElement.id") != "name":
        page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/reports/by%20keyboard")
    expect(page.locator("#heatmap")).to_be_visible(timeout=ANSWERED)
    while page.evaluate("document.activeElement.id") != "heatmap":
        page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator("#readout-averages")).to_contain_text("Monday, 2 to 3 h: ")
    written = json.loads((site.data / "requests" / "by keyboard.json").read_text())
    assert written == {
        "borough": "Manhattan",
        "start_date": "2023-02-01",
        "end_date": "2023-03-01",
    }


def test_without_script_one_can_ask_watch_and_look(site: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page, wrong = _watched(context, site)
    page.goto(site.url)
    fill_in(page, "Manhattan", "2023-01-01", "2023-03-31", "no script")
    send(page)
    page.wait_for_url(f"{site.url}/reports/no%20script")
    page.locator("#heatmap").wait_for(timeout=ANSWERED)  # the page loads itself again
    assert page.locator("#numbers ~ .scroll tbody tr").count() == 2 * 24  # averages and totals
    assert page.get_by_role("radio").count() == 0
    assert page.locator("#heatmap .row i").count() == 168
    page.goto(f"{site.url}/reports?q=no+script")
    assert page.get_by_role("link", name="Manhattan").count() == 1
    context.close()
    assert wrong == []


def test_trend_is_asked_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(site.url)

    def focus(field: str) -> None:
        while page.evaluate("document.activeElement.id || document.activeElement.value") != field:
            page.keyboard.press("Tab")

    focus("trend")
    page.keyboard.press("Enter")
    page.locator("#interval").wait_for()
    focus("area")
    page.keyboard.type("Bronx")
    focus("quarter")
    page.keyboard.press("Enter")
    expect(page.get_by_label("First day")).to_have_value("2023-01-01")
    focus("name")
    page.keyboard.type("trend by keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/reports/trend%20by%20keyboard")
    expect(page.locator("#numbers ~ .scroll tbody tr")).to_have_count(90, timeout=ANSWERED)
    written = json.loads((site.data / "requests" / "trend by keyboard.json").read_text())
    assert (written["kind"], written["borough"]) == ("trend", "Bronx")


def test_trend_is_asked_and_read_without_script(site: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page, wrong = _watched(context, site)
    page.goto(site.url)
    page.locator("#area").fill("Brooklyn")
    page.get_by_role("button", name="Trend by day").click()
    page.get_by_role("button", name="Last 3 months").click()
    assert page.locator("#area").input_value() == "Brooklyn"
    assert page.locator("#first_day").input_value() == "2023-01-01"
    page.locator("#interval").select_option("month")
    page.locator("#name").fill("trend without script")
    page.get_by_role("button", name="Create report").click()
    page.wait_for_url(f"{site.url}/reports/trend%20without%20script")
    rows = page.locator("#numbers ~ .scroll tbody tr")
    rows.first.wait_for(timeout=ANSWERED)
    months = [row.split()[:2] for row in rows.all_inner_texts()]
    assert months == [["January", "2023"], ["February", "2023"], ["March", "2023"]]
    context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_are_accessible_and_as_wide_as_the_screen(
    site: Site, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    _report(site)
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, wrong = _watched(context, site)
    for path in (
        "/",
        "/?last_day=x",
        *(f"/?kind={kind}" for kind in KINDS),
        "/?kind=compare&other_last_day=x",
        "/reports",
        "/reports?rejected=true",
        "/reports/seen",
        "/api",
    ):
        page.goto(f"{site.url}{path}")
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto(site.url)
    fill_in(page, "Manhattan", "2023-01-10", "2023-01-10", "trips_by_week")
    send(page)
    expect(page.get_by_role("alert")).to_contain_text("Your request was not sent")
    assert page.get_by_label("Name").evaluate("field => field.ariaInvalid") == "true"
    assert violations(page) == []
    context.close()
    assert wrong == []


def test_pages_of_what_waits_has_failed_or_is_not_there_are_accessible(
    site: Site, browser: Browser
) -> None:
    question = {"borough": "Bronx", "start_date": "2023-02-01", "end_date": "2023-02-02"}
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page, wrong = _watched(context, site)
    site.stop_dagster()
    try:
        for name in ("waits", "failed"):
            requests.post(f"{site.url}/api/requests", json={**question, "name": name}, timeout=30)
        _write_failure(site, "failed")
        wait_for(lambda: site.api("reports/failed")["state"] == "failed", "the failure")
        for path, said in (
            ("/reports/waits", "Received"),
            ("/reports/failed", "Error details"),
            ("/reports?q=failed", "The disk is full"),
            ("/reports/nothing", "There is no such report"),
        ):
            page.goto(f"{site.url}{path}")
            expect(page.locator("main")).to_contain_text(said)
            assert violations(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    finally:
        site.start_dagster()
    context.close()
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_report_of_each_kind_fits_a_phone_and_is_accessible(
    site: Site, browser: Browser, kind: str
) -> None:
    other = {"other_borough": "Queens"} if kind == "compare" else {}
    question = {"borough": "Manhattan", "start_date": "2023-01-01", "end_date": "2023-04-01"}
    asked = {**question, **other, "kind": kind, "name": f"of kind {kind}"}
    assert requests.post(f"{site.url}/api/requests", json=asked, timeout=30).status_code == 201
    report = f"reports/of kind {kind}"
    wait_for(lambda: site.api(report)["state"] == "done", "a report")
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page, wrong = _watched(context, site)
    page.goto(f"{site.url}/{report}")
    expect(page.locator("#numbers ~ .scroll tbody tr").first).to_be_visible()
    chart = page.locator("img.chart")
    assert chart.evaluate("image => image.complete && image.naturalWidth > 0")
    assert len(chart.get_attribute("alt") or "") > 80
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for file in ("data.csv", "data.xlsx", "chart.svg"):
        assert requests.get(f"{site.url}/{report}/{file}", timeout=60).ok, file
    context.close()
    assert wrong == []


def test_a_question_takes_four_clicks_to_its_chart(
    site: Site, page: Page, figure: Callable[[str], None]
) -> None:
    page.add_init_script(
        """addEventListener("click", () => {
            sessionStorage.clicks = 1 + Number(sessionStorage.clicks ?? 0); }, true)"""
    )
    page.goto(site.url)
    begin = time.monotonic()
    page.get_by_role("button", name="Trend by day, week or month").click()
    page.get_by_label("Area").click()
    page.keyboard.type("JFK Airport, Queens")
    page.get_by_role("button", name="Last 3 months").click()
    expect(page.get_by_label("First day")).to_have_value("2023-01-01")
    page.get_by_role("button", name="Create report").click()
    chart = page.get_by_role("img", name="Yellow taxi pickups in JFK Airport, Queens")
    expect(chart).to_be_visible(timeout=ANSWERED)
    seconds = time.monotonic() - begin
    clicks = page.evaluate("Number(sessionStorage.clicks)")
    assert clicks == 4
    figure(f"from the first page to a trend's chart: {clicks} clicks, {seconds:.1f} s")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    page.emulate_media(media="print")
    expect(chart).to_be_visible()
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.get_by_role("link", name="CSV")).to_be_hidden()


def test_the_first_page_is_small(site: Site, page: Page, figure: Callable[[str], None]) -> None:
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    page.goto(site.url, wait_until="networkidle")
    assert len(sizes) >= 3
    assert sum(sizes) <= 60_000
    figure(f"the portal's first page: {sum(sizes):,} bytes in {len(sizes)} files")
    page.set_viewport_size({"width": 390, "height": 844})
    height = page.evaluate("document.getElementById('create').getBoundingClientRect().bottom")
    figure(f"the portal's first page on a phone: {height:,.0f} pixels to the end of the form")


def test_requests_sent_at_once_are_each_answered_once(
    site: Site, figure: Callable[[str], None]
) -> None:
    names = [f"load {number}" for number in range(SENT)]
    pages: list[float] = []
    all_answered = threading.Event()

    def ask(number: int) -> int:
        day = f"2023-0{1 + number % 3}-{1 + number % 28:02}"
        form = {"area": "Manhattan", "first_day": day, "last_day": day, "name": names[number]}
        answer = requests.post(site.url, data=form, allow_redirects=False, timeout=60)
        return answer.status_code

    def look() -> None:
        while not all_answered.wait(0.2):
            for path in ("/", "/reports", f"/reports/{names[0]}"):
                begin = time.perf_counter()
                answer = requests.get(f"{site.url}{path}", timeout=60)
                pages.append(time.perf_counter() - begin)
                assert answer.ok

    def answered() -> int:
        return int(site.api("reports?q=load&state=done&limit=1")["total"])

    with ThreadPoolExecutor(CLIENTS + 1) as clients:
        looking = clients.submit(look)
        try:
            begin = time.monotonic()
            assert set(clients.map(ask, range(SENT))) == {303}
            sent = time.monotonic() - begin
            wait_for(lambda: answered() == SENT, f"{SENT} reports", seconds=300)
            took = time.monotonic() - begin
        finally:
            all_answered.set()
        looking.result()
    runs = site.runs()
    assert {name: runs[name] for name in names} == dict.fromkeys(names, 1)
    figure(f"{SENT} requests of {CLIENTS} clients: in {sent:.1f} s, answered in {took:.0f} s")
    figure(
        f"meanwhile {len(pages)} pages, median {1000 * statistics.median(pages):.0f} ms, slowest "
        f"{1000 * max(pages):.0f} ms"
    )


def test_a_busy_port_of_the_portal_is_named(site: Site, tmp_path: Path) -> None:
    with (
        pytest.raises(InstanceError, match=f"port {site.port} .* is busy.*PORTAL_PORT=8001"),
        Instance(tmp_path, portal_port=site.port),
    ):
        pass


def test_an_instance_starts_the_portal_where_it_is_asked_to(tmp_path: Path) -> None:
    environment = {"TAXI_DATA_ROOT": str(tmp_path / "data")}
    with Instance(
        tmp_path / "home", portal_port=free_port(), daemon=False, environment=environment
    ) as instance:
        assert instance.portal_url
        page = requests.get(instance.portal_url, timeout=30).text
        assert "No data is loaded yet" in page
        assert NOT_LOOKING in page  # the instance has no daemon
        assert "Uvicorn running" in instance.log("portal").read_text()


def _report(site: Site) -> None:
    question = {"borough": "Manhattan", "start_date": "2023-01-01", "end_date": "2023-04-01"}
    requests.post(f"{site.url}/api/requests", json={**question, "name": "seen"}, timeout=30)
    wait_for(lambda: site.api("reports/seen")["state"] == "done", "a report")


def _let_a_minute_pass(site: Site) -> None:
    """Set back the time at which the sensor looked for requests last."""
    (site.data / "outputs" / "catalog" / "intake.json").write_text(
        json.dumps({"checked": "2023-01-01T12:03:00Z"})
    )
    # What the portal has read may be some seconds old, and its first page does not follow.
    wait_for(lambda: NOT_LOOKING in requests.get(site.url, timeout=30).text, "the notice")


def _write_failure(site: Site, name: str) -> None:
    """Leave what a run that fails would leave, as the platform's own code does."""
    (reporting,) = (each for each in locations() if each.name == "adhoc_reports")
    script = f"""
from adhoc_reports.lib.generation import Generation
from adhoc_reports.lib.store import ReportStore
from taxi_shared.storage import DataRoot
store = ReportStore(DataRoot.at({str(site.data)!r}))
with Generation.of(store, {name!r}, None, "a-run").recorded():
    raise OSError(28, "No space left on device")
"""
    done = subprocess.run(
        [str(reporting.python), "-c", script], check=False, capture_output=True, text=True
    )
    assert "No space left" in done.stderr


def _csv(site: Site, name: str) -> str:
    return (site.data / "outputs" / f"{name}.csv").read_text()
