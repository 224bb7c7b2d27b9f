"""The resources of this location: `database`, the lake, and `tlc`, where files are published."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from ingestion.lib.download import Backoff
from ingestion.lib.published_files import TransientError
from taxi_shared import settings
from taxi_shared.addresses import without_secrets
from taxi_shared.database import lake_database
from taxi_shared.provenance import TLC_HOSTS
from taxi_shared.run_config import SetByEnvironment

LONGEST_STEP_RETRY_SECONDS = 3600.0


class TlcSource(SetByEnvironment, dg.ConfigurableResource[Any]):
    """Where files are published: http(s) addresses, local paths or file:// URLs."""

    url: str = Field(
        description="Holds trip-data/yellow_tripdata_2023-03.parquet and other months, and "
        "misc/taxi_zone_lookup.csv."
    )
    zones_url: str = Field(description="The CSV of taxi zones with their shapes.")
    attempts: int = Field(default=5, description="Attempts of a download whose failure may pass.")
    first_wait_seconds: float = Field(
        default=1.0, description="Wait after the first failure; it doubles from then on."
    )
    retries: int = Field(
        default=2, description="Retries of a step when those attempts were not enough."
    )
    retry_wait_seconds: float = Field(
        default=60.0,
        description="Wait before a step's first retry; five times that before the next.",
    )

    def trips_address(self, service: str, month: str) -> str:
        """Where the file of a service and month (`yellow`, `2023-03`) is."""
        return f"{self._base}/trip-data/{service}_tripdata_{month}.parquet"

    def zones_address(self) -> str:
        """Where the CSV of taxi zones is."""
        return settings.locate(self.zones_url)

    def zone_lookup_address(self) -> str:
        """Where TLC's table of zone names and service zones is."""
        return f"{self._base}/misc/taxi_zone_lookup.csv"

    @property
    def publisher(self) -> str:
        """The publisher's name in messages: TLC, or the address of another source."""
        return "TLC" if urlsplit(self._base).hostname in TLC_HOSTS else without_secrets(self._base)

    @property
    def fingerprint(self) -> str:
        """A hash that differs between sources; secrets in an address do not count."""
        return sha256(without_secrets(self._base).encode()).hexdigest()[:16]

    @property
    def _base(self) -> str:
        return settings.locate(self.url).rstrip("/")

    @property
    def backoff(self) -> Backoff:
        """How often to try a download, and how long to wait."""
        return Backoff(self.attempts, self.first_wait_seconds)

    def retry_transient_errors(
        self, context: dg.AssetExecutionContext, errors: Iterable[Exception | None]
    ) -> None:
        """Retry the step later if one of its errors may pass and retries are left.

        Raises dagster.RetryRequested. The retry finds what is fetched and loaded, and skips it.
        """
        transient = next((error for error in errors if isinstance(error, TransientError)), None)
        if transient and context.retry_number < self.retries:
            wait = self.retry_wait_seconds * 5**context.retry_number
            wait = max(wait, min(transient.wait_seconds or 0, LONGEST_STEP_RETRY_SECONDS))
            context.log.warning(f"{transient}; next try in {wait:.0f} s")
            raise dg.RetryRequested(self.retries, wait) from transient


def resources() -> dict[str, dg.ConfigurableResource[Any]]:
    """The location's resources, configured by the environment."""
    return {
        "database": lake_database(),
        "tlc": TlcSource(
            url=settings.for_resource("source_url"),
            zones_url=settings.for_resource("zones_url"),
        ),
    }
