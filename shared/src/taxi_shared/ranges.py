"""Ranges of partitions in one run: how one is asked for, and what each of its partitions became."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from taxi_shared import versions

# Dagster reads these tags of a run as its range of partitions; it exports no names for them.
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


def is_being_made(
    instance: dg.DagsterInstance, location: str, asset: dg.AssetKey, job_name: str
) -> bool:
    """Whether a run of a location that makes an asset is not finished yet, whoever started it.

    A run of the whole of a job names no assets: `job_name` is the job that has this one.
    """
    ours = dg.RunsFilter(statuses=UNFINISHED, tags={LOCATION_TAG: location})
    return any(
        asset in run.asset_selection if run.asset_selection else run.job_name == job_name
        for run in instance.get_runs(ours)
    )


def run_requests(
    partitions: Iterable[str], among: Sequence[str], version: str
) -> list[dg.RunRequest]:
    """A run for each unbroken stretch of partitions, in the order of all partitions, `among`.

    The same partitions and the same `version` are asked for once.
    """
    places = {partition: place for place, partition in enumerate(among)}
    stretches: list[list[str]] = []
    for partition in sorted(set(partitions), key=places.__getitem__):
        if stretches and places[partition] == places[stretches[-1][-1]] + 1:
            stretches[-1].append(partition)
        else:
            stretches.append([partition])
    return [_run_request(stretch[0], stretch[-1], version) for stretch in stretches]


def _run_request(first: str, last: str, version: str) -> dg.RunRequest:
    if first == last:
        return dg.RunRequest(run_key=f"{first} {version}", partition_key=first)
    return dg.RunRequest(
        run_key=f"{first} to {last} {version}", tags={RANGE_START: first, RANGE_END: last}
    )


@dataclass
class RangeReport:
    """What a step over many partitions did: recorded for each partition, with a version of its own.

    Dagster would record a range with one version of the data for all its partitions, and nothing of
    a step that failed. So no outputs of the step follow: the assets' specs are `skippable`. Each
    partition is recorded as soon as it is in place, so that a run which is ended early leaves no
    partition missing that is there. The others of the range stay in progress for Dagster: what
    waits for all of them follows once.

    A partition that fails does not stop the others: call `failed`, go on, and end with
    `raise_failures()`.
    """

    context: dg.AssetExecutionContext
    _failures: dict[str, Exception] = field(default_factory=dict)

    def done(
        self, asset: dg.AssetKey, partition: str, version: str, metadata: Mapping[str, Any]
    ) -> None:
        """Record a partition of an asset that is in place; `version` is equal for equal content.

        Record it after those that it was made from. A step that is tried again does not record it
        again.
        """
        if self.context.retry_number and self._is_recorded(asset, partition, version):
            return
        tags = versions.tags(self.context, asset, partition, version)
        self.context.log_event(
            dg.AssetMaterialization(asset, partition=partition, metadata=metadata, tags=tags)
        )

    def failed(self, partition: str, error: Exception) -> None:
        """A partition could not be made."""
        self._failures[partition] = error
        self.context.log.error(f"{partition}: {error}")

    def raise_failures(self) -> None:
        """Raise dagster.Failure naming every partition that failed, if any did."""
        if self._failures:
            reasons = "\n".join(f"{key}: {error}" for key, error in sorted(self._failures.items()))
            count = f"{len(self._failures)} of {len(self.context.partition_keys)} partitions failed"
            raise dg.Failure(f"{count}\n{reasons}")

    def _is_recorded(self, asset: dg.AssetKey, partition: str, version: str) -> bool:
        """Whether an earlier try of this step has recorded the partition."""
        records = self.context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]), limit=1
        ).records
        if not records or records[0].run_id != self.context.run.run_id:
            return False
        made = records[0].asset_materialization
        return made is not None and (made.tags or {}).get(versions.DATA_VERSION) == version
