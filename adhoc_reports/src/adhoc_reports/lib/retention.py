"""Removal of old runs of requests, with their events and logs; reports stay.

Dagster keeps every run: a request leaves 300 KB of events and four log files. It also forgets a
materialization with its run, so that of a report is first recorded again without a run.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from adhoc_reports.lib.lost_runs import report_of
from taxi_shared import keys
from taxi_shared.ranges import LOCATION_TAG, UNFINISHED

RUNS_PER_TICK = 200


@dataclass(frozen=True)
class RunRetention:
    """Removes runs of requests of an instance that were created before a moment.

    partitions: the names of the reports that there are
    """

    instance: dg.DagsterInstance
    location: str
    before: datetime
    partitions: frozenset[str]

    def sweep(self, cursor: str | None) -> tuple[int, str]:
        """Remove runs of a portion; returns their number, and the cursor of the next portion.

        cursor: the time from which runs are due, as ISO text; what cannot be read counts as none
        """
        found = self.instance.get_run_records(
            dg.RunsFilter(
                tags={LOCATION_TAG: self.location},
                created_after=_time(cursor),
                created_before=self.before,
            ),
            limit=RUNS_PER_TICK,
            order_by="create_timestamp",
            ascending=True,
        )
        ended = [each.dagster_run for each in found if each.dagster_run.status not in UNFINISHED]
        removed = [(run.run_id, name) for run in ended if (name := report_of(run))]
        for run_id, name in removed:
            if name in self.partitions:
                self._keep_materialization(run_id, name)
            remove_run(self.instance, run_id)
        is_last = len(found) < RUNS_PER_TICK
        return len(removed), "" if is_last else _utc(found[-1].create_timestamp).isoformat()

    def _keep_materialization(self, run_id: str, name: str) -> None:
        """Record a report's materialization again, without a run, if it is that of the run."""
        newest = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=keys.ADHOC_REQUEST, asset_partitions=[name]), limit=1
        ).records
        if newest and newest[0].run_id == run_id and (event := newest[0].asset_materialization):
            # Without the picture and the numbers, most of an event: both stay as files.
            metadata = {
                label: value
                for label, value in event.metadata.items()
                if not isinstance(value, dg.MarkdownMetadataValue)
            }
            generated = dg.MetadataValue.timestamp(newest[0].timestamp)
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    event.asset_key,
                    description="The run was removed after TAXI_KEEP_REQUEST_RUNS_DAYS.",
                    partition=event.partition,
                    metadata={**metadata, "generated": generated},
                    tags=event.tags,
                )
            )


def remove_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run, its events, and what it printed."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    # SQLite's file of the run's events stays, with nothing in it.
    for file in Path(instance.root_directory).glob(f"history/runs/{run_id}.db*"):
        file.unlink(missing_ok=True)


def _time(cursor: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(cursor) if cursor else None
    except ValueError:
        return None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
