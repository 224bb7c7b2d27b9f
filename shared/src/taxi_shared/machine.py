"""The cores and the memory that this process may use: the machine's, or its container's share."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# The control groups of this process, below CGROUP.
OWN_GROUP = Path("/proc/self/cgroup")
MB = 1_000_000
# A month that is loaded takes as much of DuckDB's memory.
DUCKDB_MB_PER_CORE = 200


def cores() -> int:
    """How many cores this process may use, at least one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [
        *(limit.partition(" ")[::2] for limit in _limits("cpu.max")),
        *zip(_limits("cpu.cfs_quota_us", "cpu"), _limits("cpu.cfs_period_us", "cpu"), strict=True),
    ]
    shares = [int(quota) // int(period) for quota, period in quotas if quota.isdigit()]
    return max(1, min([available or 1, *shares]))


def memory() -> int:
    """How many bytes of memory this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _limits("memory.max") + _limits("memory.limit_in_bytes", "memory")
    return min([physical, *(int(each) for each in limits if each.isdigit())])


def duckdb_memory() -> str:
    """The default of `TAXI_DUCKDB_MEMORY`: 200 MB per core, and at most a third of the memory."""
    return f"{min(DUCKDB_MB_PER_CORE * cores(), memory() // 3 // MB)}MB"


def _limits(name: str, controller: str = "") -> list[str]:
    """A limit of the control groups of this process: its own, and those around it.

    controller: the folder of version 1 that has the limit; version 2 has no such folders

    A container sees its own as the outermost.
    """
    groups = [line.split(":", 2) for line in _read(OWN_GROUP).splitlines()]
    own = (path for _, controllers, path in groups if controller in controllers.split(","))
    top = CGROUP / controller
    group = top / next(own, "/").lstrip("/")
    around = [group, *group.parents]
    return [_read(each / name) for each in around[: around.index(top) + 1]]


def _read(path: Path) -> str:
    """The text of a file; empty where it is not there."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
