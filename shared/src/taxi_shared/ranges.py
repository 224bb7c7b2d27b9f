"""Ranges of partitions in one run: how to request one, and how to record its partitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from taxi_shared import versions

# Dagster reads the range of a run's partitions from these tags. It exports no names for them, and a
# RunRequest takes one partition only.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
# Dagster puts it on every run.
LOCATION_TAG = "dagster/code_location"

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags of a run for all partitions from the first to the last."""
    return {RANGE_START: first, RANGE_END: last}


def has_unfinished_run(
    instance: dg.DagsterInstance, location: str, asset: dg.AssetKey, job_name: str
) -> bool:
    """Whether a run of a location that materializes an asset is queued or in progress.

    A run of a whole job names no assets: `job_name` is the job that has this one.
    """
    unfinished = dg.RunsFilter(statuses=UNFINISHED, tags={LOCATION_TAG: location})
    return any(
        asset in run.asset_selection if run.asset_selection else run.job_name == job_name
        for run in instance.get_runs(unfinished)
    )


def run_requests(
    partitions: Iterable[str], all_partitions: Sequence[str], version: str
) -> list[dg.RunRequest]:
    """A run request per unbroken range of partitions, in the order of `all_partitions`.

    Dagster launches requests with the same partitions and the same `version` once.
    """
    positions = {partition: position for position, partition in enumerate(all_partitions)}
    ranges: list[list[str]] = []
    for partition in sorted(set(partitions), key=positions.__getitem__):
        if ranges and positions[partition] == positions[ranges[-1][-1]] + 1:
            ranges[-1].append(partition)
        else:
            ranges.append([partition])
    return [_run_request(each[0], each[-1], version) for each in ranges]


def _run_request(first: str, last: str, version: str) -> dg.RunRequest:
    if first == last:
        return dg.RunRequest(run_key=f"{first} {version}", partition_key=first)
    return dg.RunRequest(run_key=f"{first} to {last} {version}", tags=range_tags(first, last))


@dataclass
class RangeReport:
    """Records each partition of a step as soon as it is in place, with its own data version.

    Dagster records a range when the step ends, with one data version for all partitions, and
    nothing if the step fails. With a report, a run that ends early has recorded what it has loaded.
    The other partitions stay in progress for Dagster: an asset that waits for all of them follows
    once. The step yields no outputs, so the specs of its assets are `skippable`.

    A partition that fails does not stop the others: call `failed`, go on, and end with
    `raise_failures()`.
    """

    context: dg.AssetExecutionContext
    _failures: dict[str, Exception] = field(default_factory=dict)

    def done(
        self, asset: dg.AssetKey, partition: str, version: str, metadata: Mapping[str, Any]
    ) -> None:
        """Record a partition of an asset that is in place; `version` is equal for equal content.

        Record upstream partitions first. A step that is retried does not record a partition again.
        """
        if self.context.retry_number and self._is_recorded(asset, partition, version):
            return
        tags = versions.materialization_tags(self.context, asset, partition, version)
        self.context.log_event(
            dg.AssetMaterialization(asset, partition=partition, metadata=metadata, tags=tags)
        )

    def failed(self, partition: str, error: Exception) -> None:
        """Log the error of a partition, and keep it for `raise_failures`."""
        self._failures[partition] = error
        self.context.log.error(f"{partition}: {error}")

    def raise_failures(self) -> None:
        """Raise dagster.Failure with the error of every partition that failed, if any did."""
        if self._failures:
            reasons = "\n".join(f"{key}: {error}" for key, error in sorted(self._failures.items()))
            count = f"{len(self._failures)} of {len(self.context.partition_keys)} partitions failed"
            raise dg.Failure(f"{count}\n{reasons}")

    def _is_recorded(self, asset: dg.AssetKey, partition: str, version: str) -> bool:
        """Whether an earlier attempt of this step has recorded the partition."""
        records = self.context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]), limit=1
        ).records
        if not records or records[0].run_id != self.context.run.run_id:
            return False
        made = records[0].asset_materialization
        return made is not None and (made.tags or {}).get(versions.DATA_VERSION) == version
