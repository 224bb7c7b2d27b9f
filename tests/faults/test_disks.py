"""Disks that lose power, are full, or cannot be written; a machine with few resources.

Power cuts and full disks are those of small file systems that the tests mount; where mounting is
not allowed, these tests are skipped.
"""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taxi_platform.instance import Instance
from tests.faults.site import JANUARY, MONTHS, Site, launch_load, load, wait_for_second_try
from tests.faults.sound import assert_equal_source, assert_sound, of_lake
from tests.waiting import wait_for, wait_for_status

MONTH_FOLDER = "staging/trips/partition_date=2023-01-01"
FILE = r"raw/\.taxi_trips_2023-01\.parquet"
ROOM = 20_000_000


@dataclass
class Disk:
    """A small file system in memory, mounted at a folder."""

    folder: Path
    size: int = ROOM
    filler: Path = field(init=False)

    def __post_init__(self) -> None:
        self.filler = self.folder / "filler"

    def fill(self) -> None:
        """Leave no space, not even within the last block of a file."""
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        """Free what was filled."""
        self.filler.unlink()


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a file system at a folder; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def in_memory(folder: Path, size: int = ROOM) -> Iterator[Disk]:
    """Mount a file system in memory at a folder."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield Disk(folder, size)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with in_memory(tmp_path_factory.mktemp("site") / "data") as small:
        yield small


@pytest.fixture(scope="module")
def small_site(disk: Disk) -> Site:
    """A platform whose data root is a file system of 20 MB."""
    return Site.make(disk.folder.parent, TAXI_FOLLOW_TLC="off")


@pytest.fixture(scope="module")
def instance(small_site: Site) -> Iterator[Instance]:
    """An instance with January in its lake."""
    with small_site.instance(served=["ingestion"]) as started:
        load(started, JANUARY)
        yield started


def full(name: str, point: tuple[str, str], expected: str) -> object:
    """A row of the table: a disk that is full from some point of a load on."""
    return pytest.param(
        (point, expected),
        id=name,
        marks=pytest.mark.fault(
            f"the disk is full {name}",
            "the run fails and names the full folder; readers keep what they had",
            "free some space and run it again",
        ),
    )


FULL = [
    full("in a download", ("open", rf"{FILE}\.[0-9a-f]+\.partial"), "no space left on {}/raw for"),
    full(
        "while a month is written",
        ("os.rename", rf"{FILE}\.source\.json"),
        f"2023-01 was not loaded: no space left on {{}}/{MONTH_FOLDER}",
    ),
    full(
        "for a commit",
        ("open", r"/trip_days/partition_date=2023-01-01/trip_days-[0-9a-f]+\.parquet"),
        "2023-01 was not loaded: no space left on {}/staging",
    ),
]


@pytest.mark.parametrize("case", FULL)
def test_full_disk_is_named_and_keeps_the_month(
    small_site: Site,
    instance: Instance,
    disk: Disk,
    rows: Iterator[int],
    case: tuple[tuple[str, str], str],
) -> None:
    (event, pattern), expected = case
    site, before = small_site, of_lake(small_site, "trips")
    site.publish(next(rows), JANUARY)
    site.arm(event, pattern, with_signal=signal.SIGSTOP)
    run_id = launch_load(instance, JANUARY)
    process = site.wait_until_hit()
    disk.fill()
    try:
        os.kill(process, signal.SIGCONT)
        assert wait_for_status(instance.graphql, run_id) == "FAILURE"
    finally:
        disk.free()
    assert expected.format(site.data) in instance.graphql.run_failure(run_id)
    assert of_lake(site, "trips") == before
    assert_sound_after(site, instance)


def assert_sound_after(site: Site, instance: Instance) -> None:
    """Check that the next load finds everything in order."""
    load(instance, JANUARY)
    assert_sound(site, instance, JANUARY)


@pytest.mark.fault(
    "the data root becomes read-only",
    "the run fails and names the folder; readers keep what they had",
    "make it writable and run it again",
)
def test_read_only_root_is_named(small_site: Site, instance: Instance, rows: Iterator[int]) -> None:
    site, before = small_site, of_lake(small_site, "trips")
    site.publish(next(rows), JANUARY)
    remount(site.data, "ro")
    try:
        run_id = load(instance, JANUARY, expected="FAILURE")
    finally:
        remount(site.data, "rw")
    assert f"Read-only file system: '{site.data}" in instance.graphql.run_failure(run_id)
    assert of_lake(site, "trips") == before
    assert_sound_after(site, instance)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


@pytest.mark.fault(
    "the disk is full for what DuckDB spills",
    "the run fails and names the full folder; readers keep what they had",
    "free some space, or give DuckDB more memory, and run it again",
)
def test_full_disk_for_spilled_rows_is_named(tmp_path: Path) -> None:
    site = Site.make(tmp_path, 600_000, TAXI_FOLLOW_TLC="off", TAXI_DUCKDB_MEMORY="40MB")
    with in_memory(site.base / "tmp") as disk, site.instance(served=["ingestion"]) as instance:
        site.arm("os.rename", rf"{FILE}\.source\.json", with_signal=signal.SIGSTOP)
        run_id = launch_load(instance, JANUARY)
        process = site.wait_until_hit()
        disk.fill()
        try:
            os.kill(process, signal.SIGCONT)
            assert wait_for_status(instance.graphql, run_id) == "FAILURE"
        finally:
            disk.free()
        expected = f"2023-01 was not loaded: no space left on {site.base}/tmp for rows that do not"
        assert expected in instance.graphql.run_failure(run_id)
        assert of_lake(site, "trips") == {}
        assert_sound_after(site, instance)


@pytest.mark.fault(
    "DuckDB has 100 MB of memory, and a process 256 open files",
    "loads succeed; what does not fit into memory goes to the disk",
    "nothing",
)
def test_little_memory_and_few_open_files_are_enough(tmp_path: Path) -> None:
    site = Site.make(tmp_path, 300_000, TAXI_FOLLOW_TLC="off", TAXI_DUCKDB_MEMORY="100MB")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with site.instance(served=["ingestion"]) as instance:
            load(instance)
            assert_equal_source(site, instance, MONTHS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """An image of a file system that is mounted as the data root."""
    if (program := shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin")) is None:
        pytest.skip("there is no mkfs.ext4 here")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    subprocess.run([program, "-q", str(path)], check=True)
    with mounted(tmp_path / "data", "-o", "loop", str(path)):
        yield path


@contextmanager
def power_lost(site: Site, image: Path) -> Iterator[None]:
    """Mount a copy of the image at the data root: what was on the disk, without the rest."""
    copy = image.with_name("image-after")
    shutil.copyfile(image, copy)
    with mounted(site.data, "-o", "loop", str(copy)):
        yield


@pytest.mark.fault(
    "the power fails right after a load",
    "what Dagster has recorded is on the disk: files, receipts, rows and commits",
    "nothing",
)
def test_recorded_months_survive_a_power_cut(tmp_path: Path, image: Path) -> None:
    site = Site.make(tmp_path, TAXI_FOLLOW_TLC="off")
    with site.instance(served=["ingestion"]) as instance:
        load(instance)
        with power_lost(site, image):
            assert_equal_source(site, instance, MONTHS)
            assert (site.data / "staging" / "data.duckdb").stat().st_size
            assert_sound(site, instance)


@pytest.mark.fault(
    "the disk is full for Dagster's databases",
    "a run can neither go on nor be reported as failed until the platform is restarted; then it is "
    "tried again, and what is loaded and not recorded is found and recorded",
    "free some space and restart the platform",
)
def test_full_disk_for_the_databases_loses_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path, TAXI_FOLLOW_TLC="off")
    with in_memory(site.home, 40_000_000) as disk:
        with site.instance(served=["ingestion"]) as instance:
            site.arm("open", r"/trips/_delta_log/\d+\.json", with_signal=signal.SIGSTOP)
            first = launch_load(instance, JANUARY)
            process = site.wait_until_hit()
            disk.fill()
            try:
                os.kill(process, signal.SIGCONT)
                wait_for(lambda: not is_running(process), "the end of the run's process")
            finally:
                disk.free()
        with site.instance(served=["ingestion"]) as instance:
            wait_for_second_try(instance, first)
            assert_sound(site, instance, JANUARY)


def is_running(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


CUTS: Mapping[str, tuple[str, str]] = {
    "before a download is moved into place": ("os.rename", rf"{FILE}\.[0-9a-f]+\.partial"),
    "before a month is committed": ("open", r"/trips/partition_date=.*/trips-[0-9a-f]+\.parquet"),
    "before a commit is on the disk": ("open", r"/trips/_delta_log/0+1\.json"),
}


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            point,
            id=name,
            marks=pytest.mark.fault(
                f"the power fails {name}",
                "the run is tried again once; readers see the month as it was before, then the new",
                "nothing",
            ),
        )
        for name, point in CUTS.items()
    ],
)
def test_load_survives_a_power_cut(tmp_path: Path, image: Path, point: tuple[str, str]) -> None:
    site = Site.make(tmp_path, TAXI_FOLLOW_TLC="off")
    with site.instance(served=["ingestion"]) as instance:
        site.arm(*point, with_signal=signal.SIGSTOP)
        first = launch_load(instance, JANUARY)
        process = site.wait_until_hit()
        with power_lost(site, image):
            os.kill(process, signal.SIGKILL)
            wait_for_second_try(instance, first)
            assert_sound(site, instance, JANUARY)
