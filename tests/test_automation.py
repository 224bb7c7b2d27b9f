"""Months that come and change, and what follows by itself: an instance with its daemon."""

import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from taxi_platform.calendar import MonthRange
from taxi_platform.instance import run_instance
from taxi_platform.pipeline import Pipeline, Run
from taxi_platform.sample import write_sample

MONTHS = MonthRange.between("2023-01", "2023-02")
SENSOR = "trip_publication_sensor"
SECONDS = 90


@pytest.fixture
def source(tmp_path):
    write_sample(tmp_path / "source", MONTHS.months, 2_000)
    return tmp_path / "source"


@pytest.fixture
def pipeline(tmp_path, source):
    environment = {
        "TAXI_DATA_ROOT": str(tmp_path / "data"),
        "TLC_SOURCE_URL": str(source),
        "TAXI_ZONES_URL": str(source / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTHS.first.isoformat(),
        "TAXI_END_DATE": MONTHS.end.isoformat(),
    }
    with run_instance(tmp_path / "home", environment=environment) as instance:
        pipeline = Pipeline(instance, Console(quiet=True))
        pipeline.wait_for_locations()
        yield pipeline


def next_request(pipeline: Pipeline, moment: float) -> str:
    """The one run that the publication sensor asks for after a moment."""
    deadline = time.monotonic() + SECONDS
    while True:
        ticks = pipeline.graphql.ticks_after("ingestion", SENSOR, moment)
        if requested := [run_id for tick in ticks for run_id in tick.requested]:
            (run_id,) = requested
            return run_id
        assert time.monotonic() < deadline, f"nothing was asked for within {SECONDS} s"
        time.sleep(0.2)


def forget_turns(pipeline: Pipeline) -> None:
    """Let the sensor ask for every month at its next evaluation, as it does after a day."""
    pipeline.graphql.ask(
        """mutation ($sensor: SensorSelector!) {
            setSensorCursor(sensorSelector: $sensor, cursor: null) { __typename } }""",
        sensor={
            "repositoryLocationName": "ingestion",
            "repositoryName": "__repository__",
            "sensorName": SENSOR,
        },
    )


def weekly_trips(source: Path) -> dict[str, int]:
    """Trips by the Sunday that begins the week of their pickup, by pandas from TLC's files."""
    files = sorted((source / "trip-data").glob("yellow_*.parquet"))
    pickups = pd.concat(pd.read_parquet(file)["tpep_pickup_datetime"] for file in files)
    sundays = pickups.dt.normalize() - pd.to_timedelta((pickups.dt.day_of_week + 1) % 7, unit="D")
    weeks = [week.isoformat() for week in MONTHS.full_weeks]
    counts = sundays.dt.strftime("%Y-%m-%d").value_counts()
    return {week: int(counts.get(week, 0)) for week in weeks}


def made_weeks(tmp_path: Path) -> dict[str, int]:
    frame = pd.read_csv(tmp_path / "data" / "outputs" / "trips_by_week.csv", dtype={"period": str})
    return dict(zip(frame["period"], frame["num_trips"], strict=True))


def test_months_that_appear_are_loaded_and_one_that_is_replaced_is_loaded_again_with_its_weeks(
    pipeline, source, tmp_path
):
    began = time.time()
    pipeline.graphql.start_sensor("ingestion", SENSOR)
    appeared = next_request(pipeline, began)
    pipeline.run(Run("months that appeared", appeared))
    pipeline.follow_automation(began, time.time())
    assert made_weeks(tmp_path) == weekly_trips(source)
    assert {m.asset for m in pipeline.materialized} == {
        *("taxi_trips_file", "taxi_trips", "taxi_zones_file", "taxi_zones"),
        *("trips_by_week", "manhattan_stats", "manhattan_map"),
    }
    assert len({(m.asset, m.partition) for m in pipeline.materialized}) == len(
        pipeline.materialized
    )

    before = made_weeks(tmp_path)
    pipeline.materialized.clear()
    began = time.time()
    january = source / "trip-data" / "yellow_tripdata_2023-01.parquet"
    pd.read_parquet(january).iloc[:1500].to_parquet(january)
    forget_turns(pipeline)
    replaced = next_request(pipeline, began)
    pipeline.run(Run("a month that was replaced", replaced))
    pipeline.follow_automation(began, time.time())
    after = made_weeks(tmp_path)
    assert after == weekly_trips(source)
    remade = {m.partition for m in pipeline.materialized if m.asset == "trips_by_week"}
    assert {week for week in after if after[week] != before[week]} <= remade
    last = (MONTHS.months[1] + timedelta(days=7)).isoformat()
    assert max(remade) < last  # February's own weeks were left alone
    loaded = [m.partition for m in pipeline.materialized if m.asset == "taxi_trips"]
    assert loaded == ["2023-01-01"]
