"""The platform under measurement: an instance on folders of the bench's own, and its runs."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.processes import Memory, descendant, peak_memory, process_tree
from bench.runs import RunTimes, finished, partition_range, wait_for_daemons
from bench.scale import Bench, fresh, partition_keys, size_of
from bench.server import served
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.workspace import locations

TRIPS = JobSubset("trip_update_job", ("taxi_trips_file", "taxi_trips"))
ZONES = JobSubset("trip_update_job", ("taxi_zones_file", "taxi_zones"))


@dataclass(frozen=True)
class Platform:
    """A running instance, the root of its data, and each location's code server."""

    instance: Instance
    data: Path
    servers: Mapping[str, int]

    def run(
        self,
        location: str,
        job: str | JobSubset,
        *,
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, object] | None = None,
    ) -> tuple[RunTimes, Memory]:
        """A run, waited for, with its times and the peak of its memory."""
        graphql = self.instance.graphql
        with self.memory_of_runs(location) as memory:
            run_id = graphql.launch(location, job, tags=tags, run_config=run_config)
            times = finished(graphql, run_id)
        return times, memory

    def ingest(self, months: int) -> tuple[RunTimes, Memory]:
        """One run that fetches and loads the first so many months."""
        tags = partition_range(partition_keys(months))
        return self.run("ingestion", TRIPS, tags=tags)

    def memory_of_runs(self, location: str) -> AbstractContextManager[Memory]:
        """The peak of what runs of a location take while the block runs."""
        return peak_memory(self.servers[location], only_new=True)


@contextmanager
def platform(
    home: Path,
    data: Path,
    publisher: str | None = None,
    *,
    daemon: bool = True,
    **environment: str,
) -> Iterator[Platform]:
    """The platform on a data root, all locations loaded; Dagster's databases begin empty.

    `publisher` is the address that files are fetched from, for runs that fetch; `environment` are
    further settings.
    """
    settings = {
        "TAXI_DATA_ROOT": str(data),
        "TAXI_FOLLOW_TLC": "off",  # only the bench starts what is measured
        **environment,
    }
    if publisher:
        settings["TLC_SOURCE_URL"] = publisher
        settings["TAXI_ZONES_URL"] = f"{publisher}/misc/taxi_zones.csv"
    others = process_tree(os.getpid())
    with Instance(fresh(home), environment=settings, daemon=daemon) as instance:
        Pipeline(instance, Console(quiet=True)).wait_for_locations()
        if daemon:
            wait_for_daemons(instance.graphql)
        servers = {
            location.name: descendant("--location-name", location.name, but=others)
            for location in locations()
        }
        yield Platform(instance, data, servers)


def lake(bench: Bench, months: int) -> Path:
    """A data root whose lake holds so many months and the zones; made where it is not there yet.

    The raw files are not kept.
    """
    data = bench.work / "lakes" / f"{bench.rows}x{months}"
    mark = data / "complete"
    if mark.exists() and len(list((data / "staging" / "trips").iterdir())) == months:
        return data
    bench.say(f"a lake of {months} months")
    with (
        served(bench.make_sample(months)) as publisher,
        platform(bench.work / "home", fresh(data), publisher, daemon=False) as ours,
    ):
        ours.ingest(months)
        ours.run("ingestion", ZONES, tags=_first_month())
    shutil.rmtree(data / "raw")
    mark.touch()
    return data


def _first_month() -> dict[str, str]:
    return {"dagster/partition": partition_keys(1)[0]}


def lake_and_raw_bytes(data: Path) -> tuple[int, int]:
    """Bytes of the Parquet files of trips in the lake, and of the raw files that they came from."""
    staging = data / "staging"
    return size_of(staging / "trips") + size_of(staging / "trip_days"), size_of(data / "raw")
