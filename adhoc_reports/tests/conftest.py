"""A data root of the test's own: a small lake, a folder of requests, and ticks of the sensor."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg
import duckdb
import pytest

from adhoc_reports.defs.intake import adhoc_request_sensor
from adhoc_reports.lib.intake import Ledger, from_cursor
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake, Rows
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES

Trip = tuple[int | None, datetime | None]
"""Pickup zone and pickup time."""

BOROUGH_OF_ZONE = {
    1: "EWR",
    3: "Bronx",
    4: "Manhattan",
    7: "Queens",
    12: "Manhattan",
    23: "Staten Island",
    25: "Brooklyn",
    264: "Unknown",
}
JANUARY = {"borough": "Manhattan", "start_date": "2023-01-10", "end_date": "2023-01-25"}


def write_zones(lake: Lake, twice: Sequence[int] = ()) -> None:
    rows = [*BOROUGH_OF_ZONE.items(), *((zone, BOROUGH_OF_ZONE[zone]) for zone in twice)]
    values = ", ".join(f"({zone}, 'Zone {zone}', '{borough}', NULL)" for zone, borough in rows)
    with duckdb.connect() as con:
        lake.write(con, ZONES, Rows(f"FROM (VALUES {values}) t(zone_id, zone, borough, geometry)"))


def write_trips(lake: Lake, month: str, trips: Sequence[Trip], publisher: str = "") -> None:
    """Replace a month (`2023-01-01`) of the lake by trips, in the columns that requests need."""
    derived = ", ".join(
        f"CAST({column.expression} AS {column.type}) AS {column.name}"
        for column in TRIPS.columns
        if column.expression
    )
    days = ", ".join(
        f"{column.expression} AS {column.name}"
        for column in TRIP_DAYS.columns
        if column.name in ("pickup_date", "num_trips", "num_unknown_pickup_zones")
    )
    with duckdb.connect() as con:
        lake.write(
            con,
            TRIPS,
            Rows(
                f"SELECT *, {derived} FROM (SELECT UNNEST($zones)::INTEGER AS pickup_zone_id, "
                "UNNEST($times)::TIMESTAMP AS pickup_datetime)",
                {"zones": [zone for zone, _ in trips], "times": [time for _, time in trips]},
                publisher=publisher,
            ),
            month,
        )
        lake.write(
            con,
            TRIP_DAYS,
            Rows(
                f"SELECT {days} FROM read_parquet($file) GROUP BY pickup_date",
                {"file": str(lake.file(TRIPS, month))},
            ),
            month,
        )


@dataclass
class Office:
    """A data root, and the sensor that looks at it: it keeps its cursor from tick to tick."""

    root: DataRoot
    instance: dg.DagsterInstance
    cursor: str | None = None
    log: list[str] = field(default_factory=list)

    @property
    def database(self) -> LakeDatabase:
        return LakeDatabase(data_root=str(self.root.base))

    def put(self, filename: str, content: str | bytes | dict[str, object] | None = None) -> None:
        """Put a request into the folder as someone would: under a hidden name, then in place."""
        if content is None or isinstance(content, dict):
            content = json.dumps(JANUARY if content is None else content)
        data = content if isinstance(content, bytes) else content.encode()
        self.root.requests.mkdir(parents=True, exist_ok=True)
        partial = self.root.requests / f".{len(filename)}.partial"
        partial.write_bytes(data)
        os.rename(partial, f"{self.root.requests}/{filename}")  # a UPath may not take the name

    def tick(self, *, keep_cursor: bool = False) -> dg.SensorResult | dg.SkipReason:
        """Evaluate the sensor; with `keep_cursor`, as if the daemon ended before it stored it."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"database": self.database}
        )
        result = adhoc_request_sensor(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        if isinstance(result, dg.SensorResult) and not keep_cursor:
            self.cursor = result.cursor
        return result

    def requested(self, *, keep_cursor: bool = False) -> list[str]:
        """The file names that a tick requests runs for."""
        result = self.tick(keep_cursor=keep_cursor)
        assert isinstance(result, dg.SensorResult)
        return [
            request.run_config["ops"]["adhoc_request"]["config"]["filename"]
            for request in result.run_requests or ()
        ]

    def skip_message(self) -> str:
        """What a tick says that requests nothing."""
        result = self.tick()
        if isinstance(result, dg.SkipReason):
            return result.skip_message or ""
        assert result.skip_reason is not None
        assert not result.run_requests
        return result.skip_reason.skip_message or ""

    def batch(self) -> Ledger:
        return from_cursor(self.cursor)

    def errors(self) -> dict[str, str]:
        """The reports in `outputs`, by the name of their file."""
        return {
            path.name: json.loads(path.read_text())["reason"]
            for path in sorted(self.root.outputs.glob("*.error.json"))
        }


@pytest.fixture(autouse=True)
def patient_portal():
    """A portal that waits for its look at the files, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adhoc_reports.portal.cache.REFRESH_SECONDS", 60)
        yield


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def office(tmp_path, instance):
    return Office(DataRoot.at(str(tmp_path)), instance)


@pytest.fixture
def lake(office):
    return Lake(office.root)
