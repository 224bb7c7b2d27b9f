"""Connections to Dagster's databases wait for a lock, or for a server that restarts.

Dagster waits 30 s for a lock of SQLite, and 13 s for Postgres. Then the step fails that was to
record something, though nothing is wrong with it, and is not retried. Each location's
processes, runs included, wait longer: `process` imports this module.
"""

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from taxi_shared.revisions import keep_revisions

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ConnectionEventsTarget, DBAPIConnection, Dialect

SQLITE_SECONDS = 180
POSTGRES_SECONDS = 30
"""Dagster tries six times."""
POLL_SECONDS = 0.5


def _connect(
    dialect: "Dialect", _: "ConnectionEventsTarget", address: Any, options: dict[str, Any]
) -> "DBAPIConnection | None":
    """Connect to a database of Dagster; None where SQLAlchemy is to do so, with these options."""
    if dialect.name == "sqlite":
        options["timeout"] = SQLITE_SECONDS
        keep_revisions()  # here, since Dagster has imported Alembic now
    if dialect.name != "postgresql":
        return None
    deadline = time.monotonic() + POSTGRES_SECONDS
    while True:
        try:
            return dialect.connect(*address, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


event.listen(Engine, "do_connect", _connect)
