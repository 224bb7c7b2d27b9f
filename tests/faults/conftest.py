"""Fixtures of the tests that inject faults, and the table of their results."""

from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.site import Site

PROPERTY = "fault"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A platform with three months at its source, and nothing in its lake."""
    return Site.make(tmp_path)


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
