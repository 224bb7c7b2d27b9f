"""Fixtures of the tests that inject faults, and the table of their results."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from taxi_platform.instance import Instance
from tests.faults import table
from tests.faults.site import JANUARY, ROWS, Site, load

PROPERTY = "fault"

pytest.register_assert_rewrite("tests.faults.sound")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A platform with three months at its source, and nothing in its lake."""
    return Site.make(tmp_path)


@pytest.fixture(scope="module")
def instance(site: Site) -> Iterator[Instance]:
    """An instance with January in its lake, for modules whose `site` serves all their tests."""
    with site.instance(served=["ingestion"]) as started:
        load(started, JANUARY)
        yield started


@pytest.fixture(scope="module")
def rows() -> Iterator[int]:
    """Numbers of rows, by which each month that is published differs from those before."""
    return count(ROWS + 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-faults", action="store_true", help="Write docs/reliability.md's table."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := item.get_closest_marker(PROPERTY):
            fault, happens, person = mark.args
            item.user_properties.append((PROPERTY, (fault, happens, person)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    passed = {
        tuple(row)
        for report in terminalreporter.getreports("passed")
        for name, row in report.user_properties
        if name == PROPERTY
    }
    failed = {
        row[0]
        for report in (
            *terminalreporter.getreports("failed"),
            *terminalreporter.getreports("error"),
        )
        for name, row in report.user_properties
        if name == PROPERTY
    }
    rows = sorted(row for row in passed if row[0] not in failed)
    terminalreporter.write_line(f"{len(rows)} faults without loss, {len(failed)} with")
    if config.getoption("--write-faults"):
        table.write(rows)
