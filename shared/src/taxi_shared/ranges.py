"""Steps that work through a range of partitions in one run, each partition on its own account."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg


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
