"""The platform as a whole: instances of the tests' own, over synthetic or TLC's real files."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT
from taxi_testing.browser import find_chromium

# TEST_TLC_FILES may name a folder of whole months in their place.
REAL_FILES = ROOT / "examples" / "tlc"
SETTINGS = ("TAXI_", "TLC_", "DUCKDB_", "DAGSTER_", "AWS_")


@dataclass
class Platform:
    """A running instance, the root of its data, and where its files come from."""

    instance: Instance
    root: Path
    source: Path

    def pipeline(self) -> Pipeline:
        return Pipeline(self.instance, Console(quiet=True))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Record a measured figure, which is listed after the tests."""
    return lambda text: record_property("figure", text)


# Before the hook of pytest-xdist, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share an instance in one process of pytest-xdist, so that it starts once."""
    for item in items:
        shared = {"platform", "instance", "results", "stack", "on_s3"}
        shared.intersection_update(getattr(item, "fixturenames", ()))
        if shared and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(min(shared)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = [
        text
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "figure"
    ]
    if found:
        terminalreporter.section("figures")
    for text in found:
        terminalreporter.write_line(str(text))


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> None:
    """Remove the settings of the machine: tests set their own."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]
    os.environ["TAXI_FOLLOW_TLC"] = "off"  # no test sends requests to TLC


@pytest.fixture(scope="session")
def real_files() -> Path:
    """A folder of real files in TLC's layout; see `examples/tlc/README.md`."""
    return Path(os.environ.get("TEST_TLC_FILES", REAL_FILES))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a real browser."""
    return find_chromium()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """An instance with all locations and the daemon, on three months of synthetic trips."""
    base = tmp_path_factory.mktemp("platform")
    months = MonthRange.between("2023-01", "2023-03")
    write_sample(base / "source", months.months, 5_000)
    environment = {
        "TAXI_DATA_ROOT": str(base / "data"),
        "TLC_SOURCE_URL": str(base / "source"),
        "TAXI_ZONES_URL": str(base / "source" / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": "2023-01-01",
        "TAXI_END_DATE": "2023-04-01",
        # A proxy that never answers: nothing on this machine may be reached through it.
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    with Instance(base / "home", environment=environment) as instance:
        yield Platform(instance, base / "data", base / "source")
