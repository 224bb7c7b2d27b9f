"""Months of trips by hand, written to a lake as loads write them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pytest

from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import literal
from taxi_shared.table_log import LakeFile, TableLog
from taxi_shared.tables import TRIPS, Table


@dataclass(frozen=True)
class Month:
    """A month of trips.

    partition: as in `2023-01-01`
    trips:     the rows of the table
    days:      SQL over the new file of trips, `$file`; without it, a count by `pickup_date`
    table:     of trips
    """

    partition: str
    trips: Rows
    days: str = ""
    table: Table = TRIPS

    def write(self, con: duckdb.DuckDBPyConnection, lake: Lake) -> None:
        """Replace the month in a lake."""
        days = self.table.days or self.table
        with lake.replacement([self.table, days], self.partition) as new:
            new.write(con, self.table, self.trips)
            file = {"file": literal(new.file(self.table))}
            columns = {
                n for n, *_ in con.execute("DESCRIBE FROM read_parquet($file)", file).fetchall()
            }
            day = "pickup_date" if "pickup_date" in columns else "CAST(NULL AS DATE) AS pickup_date"
            counted = f"SELECT {day}, count(*) AS num_trips FROM read_parquet($file) GROUP BY ALL"  # noqa: S608 - constants
            rows = Rows(self.days or counted, file, self.trips.fingerprint, self.trips.publisher)
            new.write(con, days, rows)


@contextmanager
def end_before_commit(monkeypatch: pytest.MonkeyPatch, table: Table) -> Iterator[None]:
    """Within the block, loads end with MemoryError right before they commit this table."""
    commit = TableLog.commit

    def end(log: TableLog, file: LakeFile, details: Mapping[str, str]) -> int:
        if log.table == table:
            raise MemoryError
        return commit(log, file, details)

    with monkeypatch.context() as patch:
        patch.setattr(TableLog, "commit", end)
        yield
