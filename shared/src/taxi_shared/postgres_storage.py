"""Dagster's storage in Postgres, which records an event again if the server stops meanwhile.

`instance_storage` waits for a server that is away. A server that stops while it records an event
ends the connection, Dagster raises the error within the step, and a run fails that nothing is
wrong with. What was under way may have been recorded or not, so an event may be there twice:
everything that reads events takes them as "at least once". Named by deploy/*/dagster.yaml.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
)
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster._core.storage.event_log import EventLogStorage
    from dagster._core.storage.runs import RunStorage
    from dagster._serdes import ConfigurableClassData

log = logging.getLogger(__name__)

ATTEMPTS = 3


class RetryingEventLogStorage(PostgresEventLogStorage):
    """The event log."""

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Record an event."""
        _retry(lambda: super(RetryingEventLogStorage, self).store_event(event))

    def store_event_batch(self, events: "Sequence[dg.EventLogEntry]") -> None:
        """Record events of one kind."""
        _retry(lambda: super(RetryingEventLogStorage, self).store_event_batch(events))


class RetryingRunStorage(PostgresRunStorage):
    """The runs."""

    def handle_run_event(
        self, run_id: str, event: dg.DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """Set the status of a run after an event."""
        _retry(
            lambda: super(RetryingRunStorage, self).handle_run_event(
                run_id, event, update_timestamp
            )
        )


class RetryingPostgresStorage(DagsterPostgresStorage):
    """DagsterPostgresStorage with the same configuration, whose writes of events are retried."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool, **options: Any) -> None:
        """Connect, and create tables that are missing."""
        super().__init__(postgres_url, should_autocreate_tables, **options)
        token_provider = options["token_provider"]
        self._events = RetryingEventLogStorage(postgres_url, False, token_provider=token_provider)
        self._runs = RetryingRunStorage(postgres_url, False, token_provider=token_provider)

    @classmethod
    def from_config_value(
        cls, inst_data: "ConfigurableClassData | None", config_value: Mapping[str, Any]
    ) -> Self:
        """The storage for `config` in dagster.yaml."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
            token_provider=get_token_provider_from_config(config_value),
        )

    @property
    def event_log_storage(self) -> "EventLogStorage":
        """The event log."""
        return self._events

    @property
    def run_storage(self) -> "RunStorage":
        """The runs."""
        return self._runs


def _retry(write: Callable[[], None]) -> None:
    """Write, and write again if the connection was lost meanwhile."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            write()
        except OperationalError as error:
            if attempt == ATTEMPTS or not error.connection_invalidated:
                raise
            log.warning("The connection to Dagster's database was lost, and is opened again.")
        else:
            return
