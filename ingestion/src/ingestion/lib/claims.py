"""Claims on months, by which runs that load at the same time never load the same month.

A pool of Dagster's limits how many runs load a table, and cannot depend on their months. So a run
claims its months in a file before it fetches them, and waits for other claims on them.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
from upath import UPath

from taxi_shared import storage
from taxi_shared.ranges import UNFINISHED


@dataclass(frozen=True)
class Claims:
    """The claims on months of a table, `<run ID>.json` in a folder that all runs share.

    A claim counts until its run ends, also where the run's process was killed: the claim of a run
    that is over in `instance`, or that it does not know, is removed.
    """

    folder: UPath
    instance: dg.DagsterInstance
    poll_seconds: float = 1.0

    @contextmanager
    def hold(self, context: dg.AssetExecutionContext, months: Sequence[str]) -> Iterator[None]:
        """Claim months for a run until the block ends; first wait for other runs' claims on them.

        A run writes its claim before it reads the others'. Of two runs that claim the same month at
        once, at least one therefore sees the other's claim. If both do, the run with the greater ID
        withdraws its claim until the other one has ended.
        """
        run_id = context.run.run_id
        claim = self.folder / f"{run_id}.json"
        try:
            while found := self._claim(claim, months):
                context.log.info(_waiting(found))
                if min(found) < run_id:
                    storage.remove(claim)
                while found.items() & self._others(claim, months).items():
                    time.sleep(self.poll_seconds)
            yield
        finally:
            storage.remove(claim)

    def _claim(self, claim: UPath, months: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Write a claim; returns those of other runs on the same months."""
        storage.write_text(claim, json.dumps(list(months)))
        return self._others(claim, months)

    def _others(self, claim: UPath, months: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The months that other runs have claimed too, by the IDs of these runs."""
        claimed = {
            path.stem: tuple(sorted({*months} & {*self._months(path)}))
            for path in storage.entries_below(self.folder)
            if path.suffix == claim.suffix and path.name != claim.name
        }
        return {run_id: both for run_id, both in claimed.items() if both}

    def _months(self, claim: UPath) -> list[str]:
        """The months of a claim; none where its run has ended."""
        run = self.instance.get_run_by_id(claim.stem)
        if run is None or run.status not in UNFINISHED:
            storage.remove(claim)
            return []
        try:
            months: list[str] = json.loads(storage.read_text(claim))
        except FileNotFoundError:  # withdrawn since it was listed
            return []
        return months


def _waiting(found: dict[str, tuple[str, ...]]) -> str:
    claims = "; ".join(f"{', '.join(both)} by run {run_id}" for run_id, both in found.items())
    return f"waiting for months that other runs have claimed: {claims}"
