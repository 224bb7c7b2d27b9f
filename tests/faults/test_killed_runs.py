"""A run's process is killed while it fetches and loads."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taxi_platform.instance import Instance
from tests.faults.site import JANUARY, Site, launch_load, wait_for_second_try
from tests.faults.sound import assert_sound, of_lake
from tests.waiting import wait_for

FILE = r"raw/\.taxi_trips_2023-01\.parquet"
EVENTS = r"/history/runs/[0-9a-f-]{36}\.db"  # of one run; not the daemon's databases
COMMIT = r"_delta_log/\d+\.json"
# What `inside` waits for, in this order: all but the last let the process go on.
Points = tuple[tuple[str, str, int], ...]


def row(name: str, happens: str, *points: tuple[str, str, int]) -> object:
    """A row of the table, for a process that is killed at the last of some points."""
    return pytest.param(
        points,
        id=name,
        marks=pytest.mark.fault(f"kill -9 {name}", happens, "nothing"),
    )


AGAIN = "the run fails and is tried again once; "
POINTS = [
    row(
        "after a download, before it is on the disk",
        AGAIN + "the file is fetched again, and the part of it removed after six hours",
        ("open", rf"{FILE}\.[0-9a-f]+\.partial", 1),  # the second time, to write it to the disk
    ),
    row(
        "before a download is moved into place",
        AGAIN + "the file is fetched again",
        ("os.rename", rf"{FILE}\.[0-9a-f]+\.partial", 0),
    ),
    row(
        "before a download's receipt is written",
        AGAIN + "the file is fetched again",
        ("open", rf"{FILE}\.source\.json", 0),
    ),
    row(
        "between the commits of days and trips",
        AGAIN + "readers see the month as it was before, then the new one",
        ("open", rf"/trip_days/{COMMIT}", 0),
    ),
    row(
        "after a month is committed, before it is recorded",
        AGAIN + "the month is found in the lake and recorded",
        ("open", rf"/trips/{COMMIT}", 0),
        ("sqlite3.connect", EVENTS, 0),
    ),
    row(
        "while a month is recorded",
        AGAIN + "the month is found in the lake and recorded",
        ("open", rf"/trips/{COMMIT}", 0),
        ("sqlite3.connect", EVENTS, 2),
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.make(tmp_path_factory.mktemp("site"), TAXI_FOLLOW_TLC="off")


@pytest.mark.parametrize("points", POINTS)
def test_killed_run_is_tried_again(
    site: Site, instance: Instance, rows: Iterator[int], points: Points
) -> None:
    site.publish(next(rows), JANUARY)
    site.arm(*points[0], with_signal=signal.SIGKILL if len(points) == 1 else signal.SIGSTOP)
    first = launch_load(instance, JANUARY)
    process = site.wait_until_hit()
    for point in points[1:]:
        site.arm(*point)
        os.kill(process, signal.SIGCONT)
        site.wait_until_hit()
    wait_for_second_try(instance, first)
    assert_sound(site, instance, JANUARY)


@pytest.mark.fault(
    "kill -9 while DuckDB writes a month",
    AGAIN + "readers see the month as it was before, then the new one; the vacuum removes what was "
    "written of the file",
    "nothing",
)
def test_run_killed_while_it_writes_is_tried_again(site: Site, instance: Instance) -> None:
    before = of_lake(site, "trips")
    site.publish(600_000, JANUARY)
    folder = site.data / "staging" / "trips" / "partition_date=2023-01-01"
    present = {*folder.iterdir()}
    site.arm("open", rf"{FILE}\.source\.json", 0, signal.SIGSTOP)
    first = launch_load(instance, JANUARY)
    process = site.wait_until_hit()
    os.kill(process, signal.SIGCONT)
    # A look each 0.1 s might miss the writing.
    (written,) = wait_for(lambda: {*folder.iterdir()} - present, "a new file of trips", pause=0.002)
    os.kill(process, signal.SIGKILL)
    assert of_lake(site, "trips") == before
    assert not is_parquet(written)
    wait_for_second_try(instance, first)
    assert_sound(site, instance, JANUARY)


def is_parquet(path: Path) -> bool:
    """Whether a file has its footer."""
    return path.read_bytes()[-4:] == b"PAR1"
