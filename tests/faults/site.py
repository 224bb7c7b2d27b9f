"""A platform to break: its folders, and the point at which one of its processes gets a signal."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import MappingProxyType

from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance
from taxi_platform.sample import write_sample
from taxi_platform.workspace import locations
from tests.waiting import SECONDS, wait_for, wait_for_status

INSIDE = Path(__file__).parent / "inside"
MONTHS = ("2023-01-01", "2023-02-01", "2023-03-01")
JANUARY = MONTHS[:1]
ROWS = 5_000
NO_TAGS: Mapping[str, str] = MappingProxyType({})
COLD = MappingProxyType({"warm_runs/cold": "true"})  # a run under its location's code server
TRIPS = JobSubset("trip_update_job", ("taxi_trips_file", "taxi_trips"))


@dataclass(frozen=True)
class Site:
    """The folders of a platform below one folder, and a source with three months."""

    base: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, base: Path, rows: int = ROWS, **more: str) -> "Site":
        """Make the source."""
        site = cls(base, more)
        site.publish(rows)
        (base / "tmp").mkdir()
        (base / "data" / "requests").mkdir(parents=True)
        return site

    def publish(self, rows: int, months: Sequence[str] = MONTHS) -> None:
        """Put months with so many rows at the source, in place of those that are there."""
        write_sample(self.source, [date.fromisoformat(month) for month in months], rows)

    @property
    def home(self) -> Path:
        """DAGSTER_HOME."""
        return self.base / "home"

    @property
    def data(self) -> Path:
        """The data root."""
        return self.base / "data"

    @property
    def source(self) -> Path:
        """TLC's files."""
        return self.base / "source"

    @property
    def point(self) -> Path:
        """The file that names the point; `<point>.hit` has the process that came to it."""
        return self.base / "fault"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of the instance."""
        return {
            "TAXI_DATA_ROOT": str(self.data),
            "TLC_SOURCE_URL": str(self.source),
            "TAXI_ZONES_URL": str(self.source / "misc" / "taxi_zones.csv"),
            "TAXI_START_DATE": MONTHS[0],
            "TAXI_END_DATE": "2023-04-01",
            "TMPDIR": str(self.base / "tmp"),
            "FAULT_POINT": str(self.point),
            "PYTHONPATH": str(INSIDE),
            **self.more,
        }

    def instance(self, *, daemon: bool = True, served: Sequence[str] = ()) -> Instance:
        """An instance with all three locations, or those of some names, to start by `with`."""
        return Instance(
            self.home,
            daemon=daemon,
            environment=self.environment,
            served=[each for each in locations() if not served or each.name in served],
        )

    def arm(
        self, event: str, pattern: str, let_pass: int = 0, with_signal: int = signal.SIGKILL
    ) -> None:
        """Have the next process that comes to a point get a signal; see `inside`."""
        self.hit.unlink(missing_ok=True)
        self.point.write_text(f"{event}\n{pattern}\n{let_pass}\n{int(with_signal)}\n")

    @property
    def hit(self) -> Path:
        """The file with the process that came to the point."""
        return self.point.with_name(f"{self.point.name}.hit")

    def wait_until_hit(self, seconds: float = SECONDS) -> int:
        """Wait until a process has come to the point; returns its ID."""
        wait_for(self.hit.exists, f"the point {self.point.name}", seconds)
        return int(wait_for(self.hit.read_text, "the ID of the process"))


def launch_load(
    instance: Instance, months: Sequence[str] = MONTHS, more: Mapping[str, str] = NO_TAGS
) -> str:
    """Fetch and load a range of months in one run, with more tags if need be; returns its ID."""
    tags = {
        **more,
        "dagster/asset_partition_range_start": months[0],
        "dagster/asset_partition_range_end": months[-1],
    }
    return instance.graphql.launch("ingestion", TRIPS, tags=tags)


def wait_for_second_try(instance: Instance, first: str) -> None:
    """Wait until a run has failed, and a run that Dagster has started in its place succeeded."""

    def succeeded() -> bool:
        runs = instance.graphql.runs_of("ingestion", TRIPS.job)
        newer = list(runs.values())[: list(runs).index(first)]
        return runs[first] == "FAILURE" and "SUCCESS" in newer

    wait_for(succeeded, f"the success of a second try of run {first}")


def load(instance: Instance, months: Sequence[str] = MONTHS, expected: str = "SUCCESS") -> str:
    """Fetch and load a range of months, and wait for the end of the run; returns its ID."""
    run_id = launch_load(instance, months)
    found = wait_for_status(instance.graphql, run_id)
    assert found == expected, instance.graphql.run_failure(run_id)
    return run_id


def processes_with(*texts: str) -> list[int]:
    """The processes with all these texts in their environment or command, but this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            content = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        has_all = all(text.encode() in content for text in texts)
        if has_all and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found
