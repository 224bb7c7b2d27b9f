"""The results file: all measured values, and the machine and versions."""

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.scale import STANDARD_ROWS, Bench
from taxi_shared import machine

PACKAGES = ("dagster", "duckdb", "pandas", "pyarrow", "requests")


@dataclass
class Results:
    """The results of a run: its mode, machine and versions, and its measurements by name."""

    path: Path
    about: dict[str, Any]
    measurements: dict[str, Any] = field(default_factory=dict)

    @property
    def is_standard(self) -> bool:
        """Whether the months had the standard number of rows, which the targets refer to."""
        return bool(self.about["rows"] == STANDARD_ROWS)

    @classmethod
    def begin(cls, bench: Bench, folder: Path, *, merge: bool) -> "Results":
        """Empty results of today; with `merge`, the newest of the same mode and rows, if any."""
        if merge:
            for path in sorted(folder.glob("*.json"), reverse=True):
                found = cls.read(path)
                if (found.about["mode"], found.about["rows"]) == (bench.mode, bench.rows):
                    return found
        today = datetime.now(UTC)
        suffix = "" if bench.full else "-quick"
        about = {
            "mode": bench.mode,
            "rows": bench.rows,
            "date": f"{today:%Y-%m-%d}",
            "machine": _machine(),
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "load_before": load(),
        }
        return cls(folder / f"{today:%Y-%m-%d}{suffix}.json", about)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a results file."""
        content = json.loads(path.read_text())
        return cls(path, content["about"], content["measurements"])

    def add(self, name: str, load_before: list[float], measured: dict[str, Any]) -> None:
        """Add a measurement, and write the file."""
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        self.measurements[name] = {"at": when, "load_before": load_before, **measured}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        content = {"about": self.about, "measurements": self.measurements}
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(self.path)


def load() -> list[float]:
    """The load average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _machine() -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": machine.cores(),
        "memory_gb": round(pages * page / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }
