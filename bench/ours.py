"""The measured platform: an instance on the benchmarks' own folders, and its runs."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from rich.console import Console

from bench.processes import Memory, peak_memory
from bench.runs import (
    PARTITION,
    RunTimes,
    partition_range,
    wait_for_daemons,
    wait_for_run,
    wait_until,
)
from bench.scale import (
    FIRST_MONTH,
    HISTORY_MONTHS,
    Bench,
    empty_folder,
    partition_keys,
    size_of,
    years,
)
from bench.server import serve_files
from taxi_platform.graphql import JobSubset
from taxi_platform.instance import Instance
from taxi_platform.pipeline import Pipeline
from taxi_platform.workspace import locations
from taxi_shared.warm_runs.protocol import SOCKET

TRIPS = JobSubset("trip_update_job", ("taxi_trips_file", "taxi_trips"))
PARENT_SECONDS = 60
ZONES = JobSubset("trip_update_job", ("taxi_zones_file", "taxi_zones"))


@dataclass(frozen=True)
class Platform:
    """A running instance, its data root, and the process that each location's runs descend from."""

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
        """Launch a run and wait for it; returns its times and its peak memory."""
        graphql = self.instance.graphql
        with self.memory_of_runs(location) as memory:
            run_id = graphql.launch(location, job, tags=tags, run_config=run_config)
            times = wait_for_run(graphql, run_id)
        return times, memory

    def ingest(self, months: int, first: date = FIRST_MONTH) -> tuple[RunTimes, Memory]:
        """Fetch and load `months` months from `first` on in one run."""
        tags = partition_range(partition_keys(months, first))
        return self.run("ingestion", TRIPS, tags=tags)

    def memory_of_runs(self, location: str) -> AbstractContextManager[Memory]:
        """Measure the peak memory of a location's runs while the block runs."""
        return peak_memory(self.servers[location], only_new=True)


@contextmanager
def start_platform(
    home: Path,
    data: Path,
    publisher: str | None = None,
    *,
    runs: Literal["warm", "cold", "at once"] = "warm",
    **environment: str,
) -> Iterator[Platform]:
    """Run the platform with an empty Dagster instance, and wait until all locations are loaded.

    Args:
        home: DAGSTER_HOME, which is emptied
        data: the data root
        publisher: URL of the source; needed by runs that fetch
        runs: start from warm parents, or by Dagster's own launcher, or by that and without a queue
        environment: more environment variables
    """
    settings = {
        "TAXI_DATA_ROOT": str(data),
        "TAXI_FOLLOW_TLC": "off",  # no runs but the measured ones
        **environment,
    }
    if publisher:
        settings["TLC_SOURCE_URL"] = publisher
        settings["TAXI_ZONES_URL"] = f"{publisher}/misc/taxi_zones.csv"
    warm, daemon = runs == "warm", runs != "at once"
    with Instance(empty_folder(home), environment=settings, daemon=daemon, warm=warm) as instance:
        Pipeline(instance, Console(quiet=True)).wait_for_locations()
        if warm:
            sockets = [home / "warm" / each.name / SOCKET for each in locations()]
            wait_until("the warm parents", PARENT_SECONDS, lambda: all(map(Path.exists, sockets)))
        if daemon:
            wait_for_daemons(instance.graphql)
        suffix = "-runs" if warm else ""
        servers = {
            location.name: process.pid
            for location in locations()
            if (process := instance.servers[f"{location.name}{suffix}"].process)
        }
        yield Platform(instance, data, servers)


def make_lake(
    bench: Bench, months: int, rows: int | None = None, first: date = FIRST_MONTH
) -> Path:
    """A data root whose lake has `months` months from `first` on and the zones, no raw files.

    It is created once and then used again. Its file `seconds.json` has those of the runs that
    loaded it, a year each. The raw files of one year at a time take disk.
    """
    data = bench.work / "lakes" / f"{rows or bench.rows}x{months}"
    complete = data / "seconds.json"
    if (
        complete.exists()
        and len(list((data / "staging" / "trips").glob("partition_date=*"))) == months
    ):
        return data
    bench.log(f"creating a lake of {months} months")
    source, seconds = bench.source(rows), []
    source.mkdir(parents=True, exist_ok=True)
    with (
        serve_files(source) as publisher,
        start_platform(
            bench.work / "home",
            empty_folder(data),
            publisher,
            runs="at once",
            TAXI_START_DATE=first.isoformat(),
        ) as ours,
    ):
        for number, begin in years(months, first):
            bench.make_sample(number, rows, begin)
            if begin == first:  # months of 2009 and 2010 have points, which need the zones
                ours.run("ingestion", ZONES, tags={PARTITION: first.isoformat()})
            run, _ = ours.ingest(number, begin)
            seconds.append(round(run.from_launch, 2))
            shutil.rmtree(data / "raw")
            if months == HISTORY_MONTHS:
                shutil.rmtree(source / "trip-data")
    complete.write_text(json.dumps(seconds))
    return data


def lake_and_raw_bytes(data: Path) -> tuple[int, int]:
    """Bytes of the trips' Parquet files in the lake, and of the raw files."""
    staging = data / "staging"
    return size_of(staging / "trips") + size_of(staging / "trip_days"), size_of(data / "raw")
