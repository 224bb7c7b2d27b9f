"""Runs the whole pipeline on an instance and shows its progress in the terminal."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import requests
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taxi_platform.calendar import MonthRange
from taxi_platform.downstream import Batch, plan_batches
from taxi_platform.graphql import ASSET_JOB, FINISHED, GraphQL, JobSubset, Materialization
from taxi_platform.instance import Instance, RunningInstance
from taxi_shared.ranges import range_tags
from taxi_shared.services import Service

INGESTION = "ingestion"
REPORTS = "adhoc_reports"  # its automation renews the catalog of reports, for which nothing waits
AUTOMATION_SECONDS = 120
LOCATION_SECONDS = 60
RETRY_SECONDS = 30  # The daemon looks for failed runs every five seconds.


class PipelineError(Exception):
    """A run did not succeed, or a location is not loaded."""


@dataclass
class Run:
    """A watched run: its title, its status, and the cursor of the logs shown so far.

    `failed_at` is the time at which it failed, until it is retried.
    """

    title: str
    run_id: str
    cursor: str | None = None
    status: str = "STARTING"
    failed_at: float | None = None


@dataclass
class Pipeline:
    """Launches runs, shows their logs, and collects their materializations."""

    instance: Instance | RunningInstance
    console: Console
    materialized: list[Materialization] = field(default_factory=list)

    @property
    def graphql(self) -> GraphQL:
        """The API of the instance."""
        return self.instance.graphql

    def wait_for_locations(self) -> None:
        """Wait until every location is loaded. Raises PipelineError with a location's error."""
        deadline = time.monotonic() + LOCATION_SECONDS
        while True:
            errors = {k: v for k, v in self.graphql.location_errors().items() if v is not None}
            if not errors:
                return
            if set(errors.values()) != {"loading"} or time.monotonic() > deadline:
                raise PipelineError(
                    "\n".join(f"location {name}: {error}" for name, error in errors.items())
                )
            time.sleep(0.1)

    def run_all(self, months: MonthRange, more: Sequence[Service] = ()) -> None:
        """Materialize every asset for a range of months and the full weeks in it.

        Yellow trips are always loaded, as the results are made from them; `more` services may be.
        """
        self.ingest(months, more)
        assets = [each for each in self.graphql.assets() if each.location != INGESTION]
        for batches in plan_batches(assets, months):
            self.run(*map(self._start_batch, batches))

    def _start_batch(self, batch: Batch) -> Run:
        keys = batch.partitions
        tags = range_tags(keys[0], keys[-1]) if keys else {}
        return self.start(str(batch), batch.location, JobSubset(ASSET_JOB, batch.assets), tags=tags)

    def ingest(self, months: MonthRange, more: Sequence[Service] = ()) -> None:
        """Load yellow trips of a range of months, those of more services, and the zones."""
        keys = [month.isoformat() for month in months.months]
        tags = range_tags(keys[0], keys[-1])
        loads = [self.start("trips and zones", INGESTION, "trip_update_job", tags=tags)]
        loads += [
            self.start(f"{service.name} trips", INGESTION, service.job_name, tags=tags)
            for service in more
        ]
        self.run(*loads)

    def not_materialized(self) -> list[str]:
        """The assets that no watched run has materialized, sorted."""
        materialized = {event.asset for event in self.materialized}
        return sorted({asset.name for asset in self.graphql.assets()} - materialized)

    def follow_automation(self, began: float, ended: float, quiet_ticks: int = 0) -> None:
        """Watch the runs that the locations' automation requests after months were loaded.

        `began` and `ended` are the times of the load, in seconds since 1970. Returns after at least
        one tick of each sensor since the load, and `quiet_ticks` without a request since the last
        of the runs.
        """
        sensors = [
            (location, sensor)
            for location, sensor in self.graphql.automation_sensors()
            if location not in (INGESTION, REPORTS)
        ]
        followed: set[str] = set()
        quiet_since = ended
        with self.console.status("waiting for automation"):
            while True:
                ticks = {each: self.graphql.ticks_since(*each, began) for each in sensors}
                requested = {
                    each for found in ticks.values() for tick in found for each in tick.requested
                } - followed
                if requested:
                    self._follow(requested, quiet_since)
                    followed |= requested
                    quiet_since = time.time()
                    continue
                late = [
                    sensor
                    for (_, sensor), found in ticks.items()
                    if not any(tick.timestamp > ended for tick in found)
                    or sum(tick.timestamp > quiet_since for tick in found) < quiet_ticks
                ]
                if not late:
                    return
                self._wait(quiet_since, f"{', '.join(late)} has had no tick")

    def _follow(self, requested: set[str], ended: float) -> None:
        """Watch requested runs, and the runs of requested backfills."""
        runs = [each for each in requested if _is_run(each)]
        for backfill in requested - set(runs):
            while not (found := self.graphql.runs_of_backfill(backfill)):
                self._wait(ended, f"backfill {backfill} has no run")
            runs += found
        self.run(*(Run("requested by automation", run_id) for run_id in runs))

    def _wait(self, since: float, problem: str) -> None:
        if time.time() > since + AUTOMATION_SECONDS:
            raise PipelineError(f"{problem} {AUTOMATION_SECONDS} s after the months were loaded")
        time.sleep(0.5)
        self.instance.check()

    def run_report(self, name: str, borough: str, months: MonthRange) -> None:
        """Generate a report, as from the launchpad: add its partition and launch a run of it."""
        self.graphql.add_partition(REPORTS, "reports", name)
        config = {
            "borough": borough,
            "start_date": months.first.isoformat(),
            "end_date": months.end.isoformat(),
        }
        run_config = {"ops": {"adhoc_request": {"config": config}}}
        tags = {"dagster/partition": name}
        run_id = self.graphql.launch(REPORTS, "adhoc_request_job", tags=tags, run_config=run_config)
        self.run(Run(f"report {name}", run_id))

    def start(
        self,
        title: str,
        location: str,
        job: str | JobSubset,
        *,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Launch a run of a job."""
        return Run(title, self.graphql.launch(location, job, tags=tags))

    def run(self, *runs: Run) -> None:
        """Wait until all runs have ended. Raises PipelineError if one did not succeed.

        A run whose process died is retried once, by the daemon if there is one.
        """
        with self.console.status("") as status:
            begin = time.monotonic()
            while any(run.status not in FINISHED for run in runs):
                time.sleep(0.3)
                self.instance.check()
                for run in runs:
                    with suppress(requests.ConnectionError):  # the webserver may be restarting
                        self._poll(run)
                waiting = ", ".join(run.title for run in runs if run.status not in FINISHED)
                status.update(f"{waiting} … {time.monotonic() - begin:.0f} s")
        failed = [run for run in runs if run.status != "SUCCESS"]
        for run in runs:
            self.materialized.extend(self.graphql.materializations(run.run_id))
        if failed:
            reasons = [
                f"{run.title}: {run.status.lower()}, {self.instance.url}/runs/{run.run_id}\n"
                f"{self.graphql.run_failure(run.run_id)}"
                for run in failed
            ]
            raise PipelineError("\n".join(reasons))

    def summary(self) -> Table:
        """A table of partitions, rows, bytes and seconds per asset, summed over the runs."""
        totals: dict[str, list[float]] = {}
        for event in self.materialized:
            row = totals.setdefault(event.asset, [0, 0, 0, 0])
            row[0] += 1
            for index, label in enumerate(("dagster/row_count", "bytes", "seconds"), start=1):
                row[index] += event.metadata.get(label) or 0
        table = Table("asset")
        for heading in ("partitions", "rows", "bytes", "seconds"):
            table.add_column(heading, justify="right")
        for asset, (count, rows, size, seconds) in totals.items():
            table.add_row(asset, f"{count:,}", f"{rows:,.0f}", f"{size:,.0f}", f"{seconds:.2f}")
        return table

    def _poll(self, run: Run) -> None:
        if run.status in FINISHED:
            return
        status = self.graphql.run_status(run.run_id)
        if status == "FAILURE" and self._retry(run):
            return
        run.status = status
        messages, run.cursor = self.graphql.run_messages(run.run_id, run.cursor)
        for message in messages:
            self.console.print(f"  {message}", highlight=False, markup=False, soft_wrap=True)
        if run.status == "SUCCESS":
            self.console.print(f"[green]✓[/] {run.title}")

    def _retry(self, run: Run) -> bool:
        """Watch the retry of a failed run in its place, or wait for it; False if there is none."""
        tags = self.graphql.run_tags(run.run_id)
        if tags.get("dagster/will_retry") == "false" or not self._is_in_time(run):
            return False
        retried = tags.get("dagster/auto_retry_run_id")
        if not retried and not self.instance.has_daemon and "dagster/will_retry" in tags:
            retried = self.graphql.retry(run.run_id)
        if retried:
            reason = self.graphql.run_failure(run.run_id)
            text = f"[yellow]![/] {run.title} failed and is retried: {escape(reason)}"
            self.console.print(text, highlight=False, soft_wrap=True)
            self.materialized.extend(self.graphql.materializations(run.run_id))
            run.run_id, run.cursor, run.failed_at = retried, None, None
        return True

    def _is_in_time(self, run: Run) -> bool:
        """Whether the retry of a failed run may still come."""
        run.failed_at = run.failed_at or time.monotonic()
        return time.monotonic() < run.failed_at + RETRY_SECONDS


def report_name(months: MonthRange) -> str:
    """The name of a report over months, such as manhattan_2023-01_2023-03."""
    last = months.end - timedelta(days=1)
    return f"manhattan_{months.first:%Y-%m}_{last:%Y-%m}"


def _is_run(requested: str) -> bool:
    """Whether an id is that of a run, a UUID; the ids of backfills are shorter."""
    return "-" in requested
