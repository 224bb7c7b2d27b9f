"""A data root of the test's own: a small lake, a folder of requests, and ticks of the sensor."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from adhoc_reports.defs.intake import adhoc_request_job, adhoc_request_sensor
from adhoc_reports.defs.requests import adhoc_request
from adhoc_reports.lib.outcome import Coverage, Outcome, Report, Status, utc_now
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.request_files import hash_content
from adhoc_reports.lib.store import ReportStore
from taxi_shared.database import LakeDatabase
from taxi_shared.engines.local import DuckDB
from taxi_shared.lake import Lake, Rows
from taxi_shared.ranges import LOCATION_TAG
from taxi_shared.storage import DataRoot
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES, Table
from taxi_testing.lakes import Month

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
QUESTION = Question.model_validate(JANUARY)
REPORT = Report(
    generated=utc_now(),
    by_hour=((1,) * 7,) * 24,
    weekdays=(2,) * 7,
    remark="",
    coverage=Coverage(months=(), exclusions=()),
)


def january_outcome(status: Status = Status.DONE, **changes: object) -> Outcome:
    """The outcome of the January request, with a report."""
    outcome = Outcome(
        status=status,
        filename="jan.json",
        content_hash=hash_content(QUESTION.to_json().encode()),
        request=QUESTION,
        reason="It failed." if status is Status.FAILED else "",
        run_id="a run",
        report=REPORT,
    )
    return outcome.model_copy(update=changes)


def write_zones(lake: Lake, twice: Sequence[int] = ()) -> None:
    """Replace the zones of the lake."""
    rows = [*BOROUGH_OF_ZONE.items(), *((zone, BOROUGH_OF_ZONE[zone]) for zone in twice)]
    values = ", ".join(f"({zone}, 'Zone {zone}', '{borough}', NULL)" for zone, borough in rows)
    with duckdb.connect() as con:
        lake.write(con, ZONES, Rows(f"FROM (VALUES {values}) t(zone_id, zone, borough, geometry)"))


def write_trips(
    lake: Lake, month: str, trips: Sequence[Trip], publisher: str = "", table: Table = TRIPS
) -> None:
    """Replace a month (`2023-01-01`) of the lake by trips, in the columns that requests need."""
    derived = ", ".join(
        f"CAST({column.expression} AS {column.type}) AS {column.name}"
        for column in table.columns
        if column.expression
    )
    days = ", ".join(
        f"{column.expression} AS {column.name}"
        for column in TRIP_DAYS.columns
        if column.name in ("pickup_date", "num_trips", "num_unknown_pickup_zones")
    )
    with duckdb.connect() as con:
        rows = Rows(
            f"SELECT *, {derived} FROM (SELECT UNNEST($zones)::INTEGER AS pickup_zone_id, "
            "UNNEST($times)::TIMESTAMP AS pickup_datetime)",
            {"zones": [zone for zone, _ in trips], "times": [time for _, time in trips]},
            publisher=publisher,
        )
        days = f"SELECT {days} FROM read_parquet($file) GROUP BY pickup_date"
        Month(month, rows, days, table).write(con, lake)


@dataclass
class Intake:
    """A data root, the sensor that watches it, and the runs that it requests."""

    root: DataRoot
    instance: dg.DagsterInstance

    @property
    def database(self) -> LakeDatabase:
        """The location's resource, over this data root."""
        return LakeDatabase(data_root=str(self.root.base))

    @property
    def resources(self) -> dict[str, object]:
        """The resources of the asset."""
        return {
            "database": self.database,
            "adhoc_request_engine": DuckDB(database=self.database),
        }

    @property
    def store(self) -> ReportStore:
        """A store that has read nothing yet."""
        return ReportStore(self.root)

    @property
    def partitions(self) -> list[str]:
        """The partitions that Dagster has."""
        return sorted(self.instance.get_dynamic_partitions("reports"))

    def put(self, filename: str, content: str | bytes | dict[str, str] | None = None) -> None:
        """Put a request into the folder as someone would: under a hidden name, then in place."""
        if content is None or isinstance(content, dict):
            content = json.dumps(JANUARY if content is None else content)
        folder = Path(str(self.root.requests))
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{len(filename)}.partial"
        partial.write_bytes(content if isinstance(content, bytes) else content.encode())
        partial.rename(folder / filename)

    def remove(self, filename: str) -> None:
        """Remove a request from the folder."""
        (Path(str(self.root.requests)) / filename).unlink()

    def tick(self) -> dg.SensorResult:
        """Evaluate the sensor, and store what it returns as the daemon does, but start no run."""
        context = dg.build_sensor_context(
            instance=self.instance, resources={"database": self.database}
        )
        result = adhoc_request_sensor(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                keys = list(request.partition_keys)
                self.instance.add_dynamic_partitions(request.partitions_def_name, keys)
                continue
            for key in request.partition_keys:
                self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        return result

    def requested(self) -> list[str]:
        """The names of the reports that a tick requests runs for."""
        return [str(request.partition_key) for request in self.tick().run_requests or ()]

    def skip_message(self) -> str:
        """What a tick says that requests nothing."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return result.skip_reason.skip_message or ""

    def run(self, name: str, *, run_key: str = "", **config: object) -> dg.ExecuteInProcessResult:
        """Generate a report, as a run that the sensor requests, or by hand with a config."""
        if name not in self.partitions:
            self.instance.add_dynamic_partitions("reports", [name])
        return self.job.execute_in_process(
            instance=self.instance,
            partition_key=name,
            tags={
                LOCATION_TAG: "adhoc_reports",
                **({"dagster/run_key": run_key} if run_key else {}),
            },
            run_config={"ops": {"adhoc_request": {"config": config}}} if config else {},
            raise_on_error=False,
        )

    def answer(self) -> list[str]:
        """A tick, and the runs that it requests; returns the names of their reports."""
        requests = self.tick().run_requests or ()
        for request in requests:
            self.run(str(request.partition_key), run_key=request.run_key or "")
        return [str(request.partition_key) for request in requests]

    @property
    def job(self) -> dg.JobDefinition:
        """The job of the sensor, over this data root."""
        definitions = dg.Definitions(
            assets=[adhoc_request],
            jobs=[adhoc_request_job],
            resources=self.resources,
        )
        return definitions.resolve_job_def("adhoc_request_job")

    def outcome(self, name: str) -> Outcome:
        """The outcome of a request."""
        found = self.store.read_outcome(name)
        assert found, f"{name} has no outcome"
        return found

    def rejections(self) -> dict[str, str]:
        """Why requests were rejected, by the name of their outcome."""
        outcomes = {
            path.name.removesuffix(".json"): Outcome.model_validate_json(path.read_bytes())
            for path in sorted(self.root.outputs.glob("*.json"))
        }
        return {n: each.reason for n, each in outcomes.items() if each.status is Status.REJECTED}

    def outputs(self) -> list[str]:
        """The names of the files in `outputs`."""
        files = Path(str(self.root.outputs)).glob("*")
        return sorted(path.name for path in files if path.is_file())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def intake(tmp_path: Path, instance: dg.DagsterInstance) -> Intake:
    """The sensor over a folder."""
    return Intake(DataRoot.at(str(tmp_path)), instance)


@pytest.fixture
def lake(intake: Intake) -> Lake:
    """The lake of the same data root."""
    return Lake(intake.root)


@pytest.fixture
def loaded(intake: Intake, lake: Lake) -> Intake:
    """The sensor over a folder whose lake has January 2023: 4 trips, 3 of them in Manhattan."""
    write_zones(lake)
    trips: list[Trip] = [
        (4, datetime(2023, 1, 10, 8)),
        (4, datetime(2023, 1, 15, 8)),
        (7, datetime(2023, 1, 15)),
        (12, datetime(2023, 1, 24, 23, 59)),
    ]
    write_trips(lake, "2023-01-01", trips)
    return intake
