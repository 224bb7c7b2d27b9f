"""The cores and the memory that this process may use: the machine's, or its container's share."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MB = 1_000_000
# A month that is loaded takes as much of DuckDB's memory.
DUCKDB_MB_PER_CORE = 200


def cores() -> int:
    """How many cores this process may use, at least one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _read("cpu.max").partition(" ")
    limit = int(quota) // int(period) if quota.isdigit() and period.isdigit() else available
    return max(1, min(available or 1, limit or 1))


def memory() -> int:
    """How many bytes of memory this process may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("memory.max")
    return min(physical, int(limit)) if limit.isdigit() else physical


def duckdb_memory() -> str:
    """The default of `TAXI_DUCKDB_MEMORY`: 200 MB per core, and at most a third of the memory."""
    return f"{min(DUCKDB_MB_PER_CORE * cores(), memory() // 3 // MB)}MB"


def _read(limit: str) -> str:
    """A limit of the control group, version 2; empty where there is none."""
    try:
        return (CGROUP / limit).read_text().strip()
    except OSError:
        return ""
