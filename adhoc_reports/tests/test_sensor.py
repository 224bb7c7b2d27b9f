"""The sensors, tick by tick, on folders of requests."""

import json
import os
import shutil
import threading
from pathlib import Path

import dagster as dg
import pytest

from adhoc_reports.defs.intake import (
    adhoc_request_cancellation_sensor,
    adhoc_request_failure_sensor,
    adhoc_request_job,
    adhoc_request_sensor,
)
from adhoc_reports.lib.catalog import read_intake_status
from adhoc_reports.lib.failure import CANCELLED
from adhoc_reports.lib.outcome import Status, utc_now
from adhoc_reports.lib.request import MAX_BYTES
from adhoc_reports.lib.store import ReportStore
from taxi_shared import keys, storage
from taxi_shared.ranges import LOCATION_TAG
from taxi_shared.s3 import S3Error
from taxi_shared.storage import DataRoot

from .conftest import JANUARY, Intake

QUEENS = {**JANUARY, "borough": "Queens"}
NOTHING = "No new or changed requests."


def start_run(intake: Intake, name: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A run of a report as Dagster knows it, of which no process is left."""
    partition = {"dagster/partition": name, LOCATION_TAG: "adhoc_reports"}
    return intake.instance.create_run_for_job(intake.job, status=status, tags={**partition, **tags})


def test_sensor_runs_every_second_by_default() -> None:
    assert adhoc_request_sensor.minimum_interval_seconds == 1
    assert adhoc_request_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert adhoc_request_sensor.job_name == adhoc_request_job.name == "adhoc_request_job"


def test_request_becomes_one_run_of_its_partition(intake: Intake) -> None:
    intake.put("jan.json")
    (request,) = intake.tick().run_requests or ()
    assert request.partition_key == "jan"
    assert request.run_config == {}
    assert (request.run_key or "").startswith("jan ")
    assert intake.partitions == ["jan"]


def test_request_is_answered_once(loaded: Intake) -> None:
    loaded.put("jan.json")
    assert loaded.answer() == ["jan"]
    for _ in range(3):
        assert loaded.skip_message() == NOTHING


def test_run_that_is_not_started_is_requested_by_the_same_key(intake: Intake) -> None:
    intake.put("jan.json")
    first, second = ((intake.tick().run_requests or ())[0].run_key for _ in range(2))
    assert first == second


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_changed_request_waits_for_its_run(intake: Intake, status: dg.DagsterRunStatus) -> None:
    intake.put("jan.json")
    run = start_run(intake, "jan", status)
    assert intake.requested() == []
    intake.instance.report_run_canceled(run)
    assert intake.requested() == ["jan"]


def test_report_whose_outcome_is_lost_is_run_again(loaded: Intake) -> None:
    loaded.put("jan.json")
    (first,) = loaded.tick().run_requests or ()
    loaded.run("jan", run_key=first.run_key or "")
    loaded.store.remove_outcome("jan")
    (second,) = loaded.tick().run_requests or ()
    assert second.run_key != first.run_key
    loaded.run("jan", run_key=second.run_key or "")
    assert loaded.requested() == []


def test_run_that_ended_without_an_outcome_is_recorded(intake: Intake) -> None:
    intake.put("jan.json")
    (request,) = intake.tick().run_requests or ()
    tags = {"dagster/run_key": request.run_key or ""}
    start_run(intake, "jan", dg.DagsterRunStatus.FAILURE, **tags)
    assert intake.requested() == []
    outcome = intake.outcome("jan")
    assert outcome.status is Status.FAILED
    assert outcome.reason == "The process that generated the report crashed. Try again."


def test_file_in_place_of_the_folder_withdraws_nothing(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    folder = Path(str(loaded.root.requests))
    shutil.rmtree(folder)
    folder.write_text("{}")
    with pytest.raises(NotADirectoryError, match="expected the folder of requests"):
        loaded.tick()
    assert loaded.partitions == ["jan"]


def test_run_of_another_asset_with_the_same_partition_is_ignored(intake: Intake) -> None:
    intake.put("2023-01-01.json")

    @dg.asset(partitions_def=dg.MonthlyPartitionsDefinition("2023-01-01"))
    def other() -> None: ...

    job = dg.Definitions(assets=[other]).resolve_implicit_global_asset_job_def()
    tags = {"dagster/partition": "2023-01-01", LOCATION_TAG: "adhoc_reports"}
    intake.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert intake.requested() == ["2023-01-01"]


def test_changed_request_is_answered_under_another_key(loaded: Intake) -> None:
    run_keys = set()
    for content in (JANUARY, QUEENS, JANUARY):
        loaded.put("jan.json", content)
        (request,) = loaded.tick().run_requests or ()
        loaded.run("jan", run_key=request.run_key or "")
        run_keys.add(request.run_key)
        assert loaded.requested() == []
    assert len(run_keys) == 3


def test_deleted_request_takes_its_outputs_with_it(loaded: Intake) -> None:
    for name in ("jan", "feb"):
        loaded.put(f"{name}.json")
    loaded.answer()
    loaded.remove("jan.json")
    assert loaded.skip_message() == NOTHING
    assert loaded.partitions == ["feb"]
    assert loaded.outputs() == ["feb.csv", "feb.json", "feb.png"]


def test_outputs_stay_where_that_is_set(loaded: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_KEEP_OUTPUTS", "on")
    for name in ("jan", "feb"):
        loaded.put(f"{name}.json")
    loaded.answer()
    loaded.remove("jan.json")
    loaded.tick()
    assert loaded.partitions == ["feb"]
    assert "jan.png" in loaded.outputs()
    assert loaded.skip_message() == NOTHING
    loaded.put("jan.json")  # its report answers it still
    assert loaded.requested() == []
    assert loaded.partitions == ["feb", "jan"]


def test_request_that_comes_back_is_answered_again(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.put("feb.json")
    loaded.answer()
    loaded.remove("jan.json")
    loaded.tick()
    loaded.put("jan.json")
    assert loaded.answer() == ["jan"]


def test_request_deleted_during_its_run_is_withdrawn_after_it(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.put("feb.json")
    loaded.answer()
    run = start_run(loaded, "jan", dg.DagsterRunStatus.STARTED)
    loaded.remove("jan.json")
    loaded.tick()
    assert loaded.partitions == ["feb", "jan"]
    loaded.instance.report_run_canceled(run)
    loaded.tick()
    assert loaded.partitions == ["feb"]


def test_missing_folder_withdraws_nothing(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    folder = Path(str(loaded.root.requests))
    folder.rename(folder.with_name("elsewhere"))
    assert loaded.skip_message() == NOTHING
    assert loaded.partitions == ["jan"]
    assert "jan.png" in loaded.outputs()
    folder.with_name("elsewhere").rename(folder)
    assert loaded.requested() == []


def test_failed_listing_fails_the_tick_and_withdraws_nothing(
    loaded: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.put("jan.json")
    loaded.answer()

    def deny(*_args: object, **_options: object) -> None:
        raise PermissionError("access denied")

    with monkeypatch.context() as patch:
        patch.setattr(type(loaded.root.requests.fs), "ls", deny)
        with pytest.raises(PermissionError, match="access denied"):
            loaded.tick()
    assert loaded.partitions == ["jan"]
    assert loaded.requested() == []


def test_outputs_that_cannot_be_removed_keep_the_partition(
    loaded: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.put("jan.json")
    loaded.put("feb.json")
    loaded.answer()
    loaded.remove("jan.json")

    def deny(*_: object) -> None:
        raise S3Error("access denied")

    with monkeypatch.context() as patch:
        patch.setattr(ReportStore, "remove_outputs", deny)
        loaded.tick()
    assert loaded.partitions == ["feb", "jan"]
    loaded.tick()
    assert loaded.partitions == ["feb"]


def test_partition_added_by_hand_is_not_withdrawn(intake: Intake) -> None:
    intake.put("jan.json")
    intake.instance.add_dynamic_partitions("reports", ["by hand"])
    intake.tick()
    assert "by hand" in intake.partitions


def change_hint(path: Path, how: str) -> None:
    """Change what a listing says of a file, and not its content."""
    match how:
        case "chmod":
            path.chmod(0o600)
        case "touch":
            os.utime(path)
        case "copy":
            shutil.copy2(path, f"{path}.copy.partial")
            Path(f"{path}.copy.partial").rename(path)


@pytest.mark.parametrize("how", ["chmod", "touch", "copy"])
def test_file_of_the_same_content_is_not_answered_again(loaded: Intake, how: str) -> None:
    loaded.put("jan.json")
    loaded.answer()
    change_hint(Path(str(loaded.root.requests)) / "jan.json", how)
    assert loaded.requested() == []


def test_new_instance_takes_over_the_reports(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    with dg.DagsterInstance.ephemeral() as instance:
        other = Intake(loaded.root, instance)
        assert other.requested() == []
        assert other.partitions == ["jan"]
        assert instance.get_materialized_partitions(keys.ADHOC_REQUEST) == {"jan"}
        assert other.tick().asset_events == []


def test_hidden_and_partial_files_are_ignored(intake: Intake) -> None:
    intake.put(".jan.json")
    intake.put(".jan.json.0f3a.partial")
    assert intake.skip_message() == NOTHING
    assert intake.rejections() == {}


def put_bad_files(intake: Intake) -> dict[str, str]:
    """Put one of each kind into the folder; returns a part of its rejection, by name."""
    contents = {
        "empty": b"",
        "half": json.dumps(JANUARY).encode()[:40],
        "latin": '{"borough": "Brönx"}'.encode("latin-1"),
        "list": b"[]",
        "deep": b"[" * 60_000,
        "large": b" " * (MAX_BYTES + 1),
        "missing": b'{"borough": "Bronx"}',
        "extra": json.dumps({**JANUARY, "colour": "red"}).encode(),
        "atlantis": json.dumps({**JANUARY, "borough": "Atlantis"}).encode(),
        "reversed": json.dumps({**JANUARY, "end_date": "2022-01-01"}).encode(),
        "equal": json.dumps({**JANUARY, "end_date": JANUARY["start_date"]}).encode(),
        "undated": json.dumps({**JANUARY, "end_date": "tomorrow"}).encode(),
        "manhattan_map": json.dumps(JANUARY).encode(),
    }
    for name, content in contents.items():
        intake.put(f"{name}.json", content)
    folder = Path(str(intake.root.requests))
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to("/etc/hostname")
    (folder / "dangling.json").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.json")
    return {
        "empty": "is empty",
        "half": "is not JSON",
        "latin": "not text in UTF-8",
        "list": "holds a list",
        "deep": "nested too deeply",
        "large": "at most 65,536",
        "missing": "field start_date is missing",
        "extra": "field 'colour' is not known",
        "atlantis": "Bronx, Brooklyn, EWR, Manhattan, Queens, Staten Island",
        "reversed": "is not before",
        "equal": "is not before",
        "undated": "expected a date such as",
        "folder": "is a folder",
        "link": "is a symbolic link",
        "dangling": "is a symbolic link",
        "pipe": "is a device",
    }


def test_bad_files_of_every_kind_delay_no_other(intake: Intake) -> None:
    expected = put_bad_files(intake)
    intake.put("jan.json")
    assert intake.requested() == ["jan"]
    rejections = intake.rejections()
    for name, reason in expected.items():
        assert reason in rejections[name], name
        assert f"{name}.json" in rejections[name]
    assert len(rejections) == len(expected) + 1
    assert any("another name" in reason for reason in rejections.values())
    assert intake.partitions == ["jan"]


def test_bad_file_is_rejected_once(intake: Intake) -> None:
    intake.put("atlantis.json", {**JANUARY, "borough": "Atlantis"})
    assert "borough is 'Atlantis'; expected one of Bronx" in intake.skip_message()
    assert intake.outcome("atlantis").filename == "atlantis.json"
    assert intake.skip_message() == NOTHING


def test_bad_file_that_is_corrected_is_answered(loaded: Intake) -> None:
    loaded.put("jan.json", "{}")
    assert loaded.answer() == []
    loaded.put("jan.json", {**JANUARY, "borough": "Atlantis"})
    assert "Atlantis" in loaded.skip_message()
    loaded.put("jan.json")
    assert loaded.answer() == ["jan"]
    assert loaded.outcome("jan").status is Status.DONE
    assert loaded.rejections() == {}


REFUSED_NAMES = (
    *("a\nb.json", "a\\b.json", "x" * 250 + ".json", "é" * 101 + ".json", "a\udcffb.json"),
    *("s3::x.json", "http:::x.json", "data:,x.json", "a:b.json", "con.json", " .json", "x .json"),
    *("\u200bx.json", "x.JSON", "x.json.txt", "x.json ", "*.json", "to...be.json"),
)


def test_refused_names_delay_no_other(intake: Intake) -> None:
    for name in (*REFUSED_NAMES, "jan.json"):
        intake.put(name)
    assert intake.requested() == ["jan"]
    rejections = intake.rejections()
    assert len(rejections) == len(REFUSED_NAMES)
    assert all("cannot be the name of a request: " in each for each in rejections.values())
    start_run(intake, "jan", dg.DagsterRunStatus.STARTED)
    assert intake.skip_message() == NOTHING


def test_misnamed_file_is_rejected_with_the_name_to_use(intake: Intake) -> None:
    intake.put("jan.json.txt")
    assert intake.skip_message() == (
        "jan.json.txt cannot be the name of a request: rename it to jan.json: the name must end "
        "with .json"
    )


def test_rejection_goes_when_the_file_is_renamed(intake: Intake) -> None:
    for name in ("jan.JSON", "a:b.json", "half.json"):
        intake.put(name, "{" if name == "half.json" else None)
    intake.tick()
    assert len(intake.rejections()) == 3
    folder = Path(str(intake.root.requests))
    (folder / "a:b.json").unlink()
    (folder / "jan.JSON").rename(folder / "jan.json")
    assert intake.requested() == ["jan"]
    assert list(intake.rejections()) == ["half"]


def test_misnamed_file_that_grows_is_rejected_once(intake: Intake) -> None:
    intake.put("jan.json.txt", "{")
    assert "rename it to jan.json" in intake.skip_message()
    intake.put("jan.json.txt", "{}")
    assert intake.skip_message() == NOTHING


def test_second_of_two_names_that_differ_by_case_is_rejected(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    loaded.put("Jan.json", QUEENS)
    assert "macOS and Windows take it for the name of jan.json" in loaded.skip_message()
    assert list(loaded.rejections()) == ["Jan"]
    loaded.put("jan.json", QUEENS)
    assert loaded.answer() == ["jan"]
    loaded.remove("jan.json")
    assert loaded.requested() == ["Jan"]


def test_rejection_that_cannot_be_written_is_retried(intake: Intake) -> None:
    intake.put("bad.json", "{}")
    intake.put("jan.json")
    folder = Path(str(intake.root.outputs)) / "bad.json"
    folder.mkdir(parents=True)
    assert intake.requested() == ["jan"]
    folder.rmdir()
    intake.tick()
    assert "borough is missing" in intake.rejections()["bad"]


def test_request_is_answered_once_access_is_granted(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake.put("jan.json")
    with monkeypatch.context() as patch:
        read = storage.read_all_bounded

        def deny(folder: object, names: list[str], limit: int) -> list[bytes | Exception]:
            if folder == intake.root.outputs:
                return read(intake.root.outputs, names, limit)
            return [PermissionError("access denied")] * len(names)

        patch.setattr(storage, "read_all_bounded", deny)
        assert "jan.json cannot be read; expected a file" in intake.skip_message()
        for _ in range(2):
            assert intake.skip_message() == NOTHING
    assert intake.requested() == ["jan"]


def test_file_that_times_out_is_read_at_the_next_tick(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake.put("jan.json")
    with monkeypatch.context() as patch:
        timeout = TimeoutError("slow down")
        patch.setattr(storage, "read_all_bounded", lambda _, names, __: [timeout] * len(names))
        assert intake.requested() == []
    assert intake.requested() == ["jan"]


@pytest.mark.parametrize("name", ["jan 2023", "Jänner", "一月", "=a", "[a]#%&'", "x" * 100])
def test_unusual_names_become_runs(loaded: Intake, name: str) -> None:
    loaded.put(f"{name}.json")
    assert loaded.answer() == [name]
    assert loaded.outcome(name).status is Status.DONE
    assert loaded.requested() == []


def test_skip_message_lists_ten_reasons(intake: Intake) -> None:
    for number in range(50):
        intake.put(f"{number}.json", "{}")
    assert "and 40 more, see outputs/*.json" in intake.skip_message()


def test_sensor_records_when_it_looked_last(intake: Intake) -> None:
    intake.tick()
    assert (utc_now() - read_intake_status(intake.root).checked).total_seconds() < 60


def test_watching_tick_sees_a_request_as_it_is_dropped(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_REQUEST_WATCH_SECONDS", "20")
    intake.put("first.json", "{}")
    intake.tick()
    timer = threading.Timer(0.3, intake.put, ["second.json"])
    timer.start()
    assert intake.requested() == ["second"]
    timer.join()


def test_watching_tick_without_requests_ends_with_a_reason(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_REQUEST_WATCH_SECONDS", "0.2")
    intake.put("first.json", "{}")
    intake.tick()
    assert intake.skip_message() == NOTHING


def test_request_on_s3_is_answered_once_per_content(
    instance: dg.DagsterInstance, s3_root: str
) -> None:
    intake = Intake(DataRoot.at(s3_root), instance)
    requests = intake.root.requests
    assert intake.skip_message() == NOTHING
    storage.write_text(requests / "jan.json", json.dumps(JANUARY))
    storage.write_text(requests / "bad.json", "{}")
    assert intake.answer() == ["jan"]
    assert "field borough is missing" in intake.outcome("bad").reason
    storage.write_text(requests / "jan.json", json.dumps(JANUARY))
    assert intake.requested() == []
    storage.write_text(requests / "jan.json", json.dumps(QUEENS))
    assert intake.answer() == ["jan"]
    storage.remove(requests / "jan.json")
    assert intake.requested() == []
    assert intake.partitions == []
    assert intake.store.read_outcome("jan") is None
    assert not intake.store.chart_path("jan").exists()


def test_missing_bucket_fails_the_tick_and_is_named(
    instance: dg.DagsterInstance, s3_root: str
) -> None:
    intake = Intake(DataRoot.at(s3_root.replace("tests-", "gone-")), instance)
    with pytest.raises(S3Error, match=r"s3://gone-.*there is no such bucket"):
        intake.tick()


def end_run(intake: Intake, run: dg.DagsterRun, message: str) -> None:
    """The run's process is killed: Dagster reports it, and the sensor sees that."""
    intake.instance.report_run_failed(run, message)
    (record,) = intake.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.PIPELINE_FAILURE
    ).records
    event = record.event_log_entry.dagster_event
    assert event
    context = dg.build_run_status_sensor_context(
        "adhoc_request_failure_sensor",
        event,
        intake.instance,
        run,
        resources={"database": intake.database},
    )
    adhoc_request_failure_sensor(context.for_run_failure())


def test_killed_run_is_recorded_as_failed(intake: Intake) -> None:
    intake.put("jan.json")
    (request,) = intake.tick().run_requests or ()
    tags = {"dagster/run_key": request.run_key or ""}
    run = start_run(intake, "jan", dg.DagsterRunStatus.STARTED, **tags)
    end_run(intake, run, "Run worker process exited unexpectedly")
    outcome = intake.outcome("jan")
    assert outcome.status is Status.FAILED
    assert outcome.reason == "The process that generated the report crashed. Try again."
    assert (outcome.run_id, outcome.request is not None) == (run.run_id, True)
    assert intake.requested() == []


def test_request_deleted_before_its_run_is_withdrawn(intake: Intake) -> None:
    intake.put("jan.json")
    intake.put("bad.json", "{}")
    (request,) = intake.tick().run_requests or ()
    tags = {"dagster/run_key": request.run_key or ""}
    run = start_run(intake, "jan", dg.DagsterRunStatus.STARTED, **tags)
    intake.remove("jan.json")
    intake.tick()
    assert intake.partitions == ["jan"]
    end_run(intake, run, "Steps failed: ['adhoc_request'].")
    intake.tick()
    assert intake.partitions == []
    assert intake.outputs() == ["bad.json"]


def test_run_that_dagster_retries_is_not_recorded(intake: Intake) -> None:
    intake.put("jan.json")
    intake.tick()
    tags = {"dagster/will_retry": "true"}
    run = start_run(intake, "jan", dg.DagsterRunStatus.STARTED, **tags)
    end_run(intake, run, "Run worker process exited unexpectedly")
    assert intake.store.read_outcome("jan") is None


def test_cancelled_run_is_recorded_as_failed(intake: Intake) -> None:
    intake.put("jan.json")
    intake.tick()
    run = start_run(intake, "jan", dg.DagsterRunStatus.NOT_STARTED)
    event = intake.instance.report_run_canceled(run)
    context = dg.build_run_status_sensor_context(
        "adhoc_request_cancellation_sensor",
        event,
        intake.instance,
        run,
        resources={"database": intake.database},
    )
    adhoc_request_cancellation_sensor(context)
    assert intake.outcome("jan").status is Status.FAILED
    assert intake.outcome("jan").reason == CANCELLED
