"""Old runs of requests: which are removed, and that nothing of them is left."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from adhoc_reports.lib import retention
from adhoc_reports.lib.retention import RunRetention
from taxi_shared import keys
from taxi_shared.ranges import LOCATION_TAG

LATER = datetime.now(UTC) + timedelta(days=1)
JOB = "adhoc_request_job"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"telemetry": {"enabled": False}}
    ) as instance:
        yield instance


@dg.asset(key=keys.ADHOC_REQUEST, partitions_def=dg.DynamicPartitionsDefinition(name="reports"))
def answer(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("answered")
    return dg.MaterializeResult(metadata={"rows": 2, "chart": dg.MetadataValue.md("![]()")})


def run(instance: dg.DagsterInstance, name: str) -> str:
    """Answer a request; returns the ID of the run."""
    instance.add_dynamic_partitions("reports", [name])
    defs = dg.Definitions([answer], jobs=[dg.define_asset_job(JOB, [answer])])
    done = defs.resolve_job_def(JOB).execute_in_process(
        instance=instance, partition_key=name, tags={LOCATION_TAG: "adhoc_reports"}
    )
    return done.run_id


def sweep(
    instance: dg.DagsterInstance, *names: str, before: datetime = LATER, cursor: str = ""
) -> tuple[int, str]:
    return RunRetention(instance, "adhoc_reports", before, frozenset(names)).sweep(cursor)


def test_reports_outlive_their_runs(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    runs = [run(instance, name) for name in ("jan", "jan", "feb")]
    before = instance.get_latest_data_version_record(keys.ADHOC_REQUEST, partition_key="jan")
    assert before
    assert sweep(instance, "jan") == (3, "")
    assert not instance.get_runs()
    assert instance.get_materialized_partitions(keys.ADHOC_REQUEST) == {"jan"}
    after = instance.get_latest_data_version_record(keys.ADHOC_REQUEST, partition_key="jan")
    assert after
    event, old = after.asset_materialization, before.asset_materialization
    assert event
    assert old
    assert event.tags == old.tags
    assert event.metadata["rows"] == old.metadata["rows"] == dg.IntMetadataValue(2)
    assert "chart" not in event.metadata
    assert event.metadata["generated"].value == pytest.approx(before.timestamp)
    left = [str(path) for path in tmp_path.rglob("*")]
    assert not any(each in path for each in runs for path in left)


def test_recent_and_unfinished_runs_stay(instance: dg.DagsterInstance) -> None:
    run(instance, "jan")
    tags = {LOCATION_TAG: "adhoc_reports", "dagster/partition": "jan"}
    job = dg.Definitions([answer], jobs=[dg.define_asset_job(JOB, [answer])]).resolve_job_def(JOB)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert sweep(instance, before=datetime.now(UTC) - timedelta(days=1)) == (0, "")
    assert sweep(instance) == (1, "")
    assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]


def test_runs_are_removed_in_portions(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_PER_TICK", 2)
    for name in ("a", "b", "a"):
        run(instance, name)
    removed, cursor = sweep(instance, "a", "b")
    assert (removed, bool(cursor)) == (2, True)
    assert sweep(instance, "a", "b", cursor="{no cursor") == (1, "")
    assert instance.get_materialized_partitions(keys.ADHOC_REQUEST) == {"a", "b"}


def test_portions_follow_each_other_past_runs_that_stay(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_PER_TICK", 1)
    job = dg.Definitions([answer], jobs=[dg.define_asset_job(JOB, [answer])]).resolve_job_def(JOB)
    tags = {LOCATION_TAG: "adhoc_reports"}
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    run(instance, "a")
    removed, cursor = sweep(instance, "a")
    assert (removed, bool(cursor)) == (0, True)
    assert sweep(instance, "a", cursor=cursor)[0] == 1
