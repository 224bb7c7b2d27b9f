"""Cores and memory are those that this process may use."""

import os
from pathlib import Path

import pytest

from taxi_shared import machine, settings
from taxi_shared.database import LakeDatabase


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the limits of a container on a machine with 16 cores and 64 GB."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64_000_000_000 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.get)
    return tmp_path


def test_machine_without_limits_gives_all(limits: Path) -> None:
    assert (machine.cores(), machine.memory()) == (16, 64_000_000_000)
    assert machine.duckdb_memory() == "3200MB"


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "duckdb"),
    [
        ("200000 100000", "max", 2, "400MB"),
        ("max 100000", "1500000000", 16, "500MB"),
        ("50000 100000", "300000000", 1, "100MB"),
        ("", "", 16, "3200MB"),
    ],
)
def test_limits_of_a_container_count(
    limits: Path, cpu: str, memory: str, cores: int, duckdb: str
) -> None:
    (limits / "cpu.max").write_text(f"{cpu}\n")
    (limits / "memory.max").write_text(f"{memory}\n")
    assert machine.cores() == cores
    assert machine.duckdb_memory() == duckdb


def test_least_of_the_limits_around_a_process_counts(limits: Path) -> None:
    (limits / "own").write_text("4:memory:/elsewhere\n0::/system.slice/taxi.service\n")
    service = limits / "system.slice" / "taxi.service"
    service.mkdir(parents=True)
    (service / "cpu.max").write_text("max 100000\n")
    (service.parent / "cpu.max").write_text("400000 100000\n")
    (service / "memory.max").write_text("3000000000\n")
    (service.parent / "memory.max").write_text("6000000000\n")
    assert (machine.cores(), machine.memory()) == (4, 3_000_000_000)


@pytest.mark.parametrize("own", ["/", "/taxi", "/elsewhere"])
def test_limits_of_control_groups_of_version_1_count(limits: Path, own: str) -> None:
    (limits / "own").write_text(f"4:cpu,cpuacct:{own}\n3:memory:{own}\n0::/\n")
    no_limit = 2**63 - 4096
    for folder, quota, memory in (("", 400_000, 3_000_000_000), ("taxi", -1, no_limit)):
        for controller in ("cpu", "memory"):
            (limits / controller / folder).mkdir(parents=True)
        (limits / "cpu" / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (limits / "cpu" / folder / "cpu.cfs_period_us").write_text("100000\n")
        (limits / "memory" / folder / "memory.limit_in_bytes").write_text(f"{memory}\n")
    assert (machine.cores(), machine.memory()) == (4, 3_000_000_000)


@pytest.mark.parametrize(
    ("setting", "cores"), [("3200MB", 16), ("1GiB", 11), ("500MB", 5), ("100MB", 1), ("10MB", 1)]
)
@pytest.mark.usefixtures("limits")
def test_cores_at_work_follow_the_memory(setting: str, cores: int) -> None:
    assert LakeDatabase(data_root="data", memory_limit=setting).cores == cores


def test_setting_wins_over_the_machine(limits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.Settings().duckdb_memory == "3200MB"
    monkeypatch.setenv("TAXI_DUCKDB_MEMORY", "1GB")
    assert settings.Settings().duckdb_memory == "1GB"
