"""Ranges of partitions in one run: how one is asked for, and what each of its partitions became."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

# Dagster reads these tags of a run as its range of partitions; it exports no names for them.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


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
    """What such a step did: a materialisation with metadata for each partition that succeeded.

    A partition that fails does not stop the others: tell `failed`, go on, and end with
    `yield from results()`.
    """

    context: dg.AssetExecutionContext
    _done: dict[tuple[dg.AssetKey, str], Mapping[str, Any]] = field(default_factory=dict)
    _failures: dict[str, Exception] = field(default_factory=dict)

    def done(self, asset: dg.AssetKey, partition: str, metadata: Mapping[str, Any]) -> None:
        """A partition of an asset is in place."""
        self._done[asset, partition] = metadata

    def failed(self, partition: str, error: Exception) -> None:
        """A partition could not be made."""
        self._failures[partition] = error
        self.context.log.error(f"{partition}: {error}")

    def results(self) -> Iterator[dg.MaterializeResult]:
        """A result for each selected asset; raises dagster.Failure naming every failed partition.

        Dagster records the partitions of a range when their step succeeds. Where it fails, those
        that are in place are recorded here, so that a backfill's next attempt leaves them out.
        """
        if not self._failures:
            for (asset, partition), metadata in self._done.items():
                self.context.add_asset_metadata(metadata, asset, partition)
            # In the order of the first report, which is that of the assets' dependencies.
            for asset in dict.fromkeys(asset for asset, _ in self._done):
                yield dg.MaterializeResult(asset_key=asset)
            return
        for (asset, partition), metadata in self._done.items():
            self.context.log_event(
                dg.AssetMaterialization(asset, partition=partition, metadata=metadata)
            )
        reasons = "\n".join(f"{key}: {error}" for key, error in sorted(self._failures.items()))
        count = f"{len(self._failures)} of {len(self.context.partition_keys)} partitions failed"
        raise dg.Failure(f"{count}\n{reasons}")
