"""The upgrade: reports of earlier releases are shown, and generated no second time."""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adhoc_reports.lib import upgrade
from adhoc_reports.lib.outcome import Status
from taxi_shared import keys, storage
from taxi_shared.storage import DataRoot

from .conftest import JANUARY, Intake

JANUARY_HASH = "7e4499e624a3b139af5013754f89d286"
"""Of the file that `Intake.put` writes for January."""
REPORT: dict[str, Any] = {
    "request": {**JANUARY, "zone": "", "filename": "jan.json"},
    "made": "2026-11-27T04:31:59Z",
    "run_id": "98e97337-a875-4c2d-829a-b579eb79b895",
    "run_key": f"jan.json {JANUARY_HASH} 2a29f28ba3490df9",
    "by_hour": [[0, 0, 1, 0, 0, 0, 0] if hour == 8 else [0] * 7 for hour in range(24)],
    "remark": "",
    "basis": {
        "months": [{"month": "2023-01-01", "loaded": "2026-11-27T04:31:58Z", "trips": 2}],
        "left_out": [{"reason": "Picked up elsewhere than in Manhattan.", "trips": 1}],
    },
    "weekdays": [2, 2, 3, 2, 2, 2, 2],
    "publishers": ["not recorded"],
}
FAILURE = {
    "request": "jan.json",
    "reason": "Unexpected error. Try again.",
    "details": "ZeroDivisionError: division by zero",
    "run_key": f"jan.json {JANUARY_HASH} f67f2b7ac90fdf0c",
    "run_id": "3ca9f6c5-a51f-47af-84cd-34ce04eb2ca6",
}
MISNAMED = {
    "request": "x.JSON",
    "reason": "x.JSON cannot be the name of a request: rename it to x.json: the name must end "
    "with .json",
    "run_key": "x.JSON b55bd5d9dec2caafb49908f8a80da032 75c600dac17e102e",
}


def write(intake: Intake, name: str, document: dict[str, Any]) -> Path:
    """A document of an earlier release in `outputs`."""
    path = Path(str(intake.root.outputs)) / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def write_report(intake: Intake, name: str) -> None:
    """A report of January as an earlier release wrote it, whose run key has the hash."""
    request = {**REPORT["request"], "filename": f"{name}.json"}
    run_key = f"{name}.json {JANUARY_HASH} 1"
    write(intake, f"{name}.report.json", {**REPORT, "request": request, "run_key": run_key})


def convert(intake: Intake) -> None:
    """The tick that converts, and requests nothing."""
    assert intake.requested() == []


def test_report_becomes_an_outcome_and_a_partition(intake: Intake) -> None:
    intake.put("jan.json")
    write(intake, "jan.report.json", REPORT)
    convert(intake)
    assert intake.requested() == []
    assert intake.outputs() == ["jan.json"]
    outcome = intake.outcome("jan")
    assert (outcome.status, outcome.content_hash) == (Status.DONE, JANUARY_HASH)
    assert outcome.run_id == REPORT["run_id"]
    assert outcome.report
    assert outcome.report.pickups.total == 1
    assert outcome.report.weekdays == (2, 2, 3, 2, 2, 2, 2)
    assert [each.trips for each in outcome.report.coverage.months] == [2]
    assert [each.trips for each in outcome.report.coverage.exclusions] == [1]
    assert intake.partitions == ["jan"]
    assert intake.instance.get_materialized_partitions(keys.ADHOC_REQUEST) == {"jan"}
    assert intake.tick().asset_events == []


def test_oldest_report_counts_the_weekdays_of_its_months(intake: Intake) -> None:
    intake.put("jan.json")
    oldest = {key: REPORT[key] for key in REPORT if key not in ("weekdays", "publishers")}
    write(intake, "jan.report.json", oldest)
    intake.tick()
    report = intake.outcome("jan").report
    assert report
    assert report.weekdays == (2, 2, 3, 2, 2, 2, 2)
    assert report.publishers == ()


def test_report_of_a_changed_request_is_generated_again(intake: Intake) -> None:
    intake.put("jan.json", {**JANUARY, "borough": "Queens"})
    write(intake, "jan.report.json", REPORT)
    convert(intake)
    assert intake.requested() == ["jan"]


def test_failed_request_runs_again_and_keeps_its_report(loaded: Intake) -> None:
    loaded.put("jan.json")
    write(loaded, "jan.report.json", {**REPORT, "run_key": f"jan.json {'0' * 32} 1"})
    write(loaded, "jan.failed.json", FAILURE)
    convert(loaded)
    assert loaded.outputs() == ["jan.json"]
    assert loaded.store.scan().entries["jan"].has_report
    assert loaded.answer() == ["jan"]


def test_rejection_is_judged_again(intake: Intake) -> None:
    intake.put("x.JSON")
    write(intake, "x_JSON-2494b5fd.error.json", MISNAMED)
    convert(intake)
    assert intake.requested() == []
    assert intake.rejections() == {"x_JSON-2494b5fd": MISNAMED["reason"]}
    assert intake.outputs() == ["x_JSON-2494b5fd.json"]


def test_report_without_a_request_is_still_shown(intake: Intake) -> None:
    intake.put("other.json", "{}")
    write(intake, "jan.report.json", REPORT)
    convert(intake)
    intake.tick()
    assert intake.store.scan().entries["jan"].status is Status.DONE
    assert intake.partitions == []


@pytest.mark.parametrize("run_key", ["", "jan.json 2a29f28ba3490df9"])
@pytest.mark.parametrize(("seconds", "requested"), [(1, []), (4e9, ["jan"])])
def test_report_without_a_hash_is_compared_by_time(
    intake: Intake, run_key: str, seconds: float, requested: list[str]
) -> None:
    intake.put("jan.json")
    os.utime(str(intake.root.requests / "jan.json"), (seconds, seconds))
    write(intake, "jan.report.json", {**REPORT, "run_key": run_key})
    convert(intake)
    assert intake.requested() == requested


def test_upgrade_goes_on_after_it_was_killed(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jan", "feb"):
        intake.put(f"{name}.json")
        write_report(intake, name)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("adhoc_reports.lib.upgrade.storage.remove", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                intake.tick()
    convert(intake)
    assert intake.requested() == []
    assert intake.outputs() == ["feb.json", "jan.json"]
    assert intake.partitions == ["feb", "jan"]


def test_nothing_is_requested_before_all_is_converted(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "DOCUMENTS_PER_TICK", 1)
    for name in ("feb", "jan", "xmas"):
        intake.put(f"{name}.json")
    for name in ("jan", "xmas"):
        write_report(intake, name)
    convert(intake)
    convert(intake)
    assert intake.requested() == ["feb"]


def test_newer_outcome_is_not_replaced(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    run_id = loaded.outcome("jan").run_id
    write(loaded, "jan.report.json", {**REPORT, "made": "2026-01-01T00:00:00Z"})
    convert(loaded)
    assert loaded.outcome("jan").run_id == run_id
    assert "jan.report.json" not in loaded.outputs()


@pytest.mark.parametrize("kind", ["report", "error", "failed"])
def test_file_of_another_team_stays(intake: Intake, kind: str) -> None:
    other = write(intake, f"sales.{kind}.json", {"total": 3})
    intake.put("jan.json")
    assert intake.requested() == ["jan"]
    assert other.exists()


def test_request_named_like_an_old_document_is_answered(loaded: Intake) -> None:
    names = ["jan", "jan.error", "jan.failed", "jan.report"]
    for name in names:
        loaded.put(f"{name}.json")
    assert sorted(loaded.answer()) == names
    assert loaded.requested() == []
    entries = loaded.store.scan().entries.values()
    assert {entry.status for entry in entries} == {Status.DONE}


def test_old_report_gives_way_to_the_outcome_of_its_name(intake: Intake) -> None:
    for name in ("jan", "jan.report"):
        intake.put(f"{name}.json")
        write_report(intake, name)
    convert(intake)
    assert intake.requested() == []
    assert intake.outputs() == ["jan.json", "jan.report.json"]
    assert intake.partitions == ["jan", "jan.report"]


def test_report_on_s3_becomes_an_outcome(instance: dg.DagsterInstance, s3_root: str) -> None:
    intake = Intake(DataRoot.at(s3_root), instance)
    requests, outputs = intake.root.requests, intake.root.outputs
    storage.write_text(requests / "jan.json", json.dumps(JANUARY))
    storage.write_text(outputs / "jan.report.json", json.dumps({**REPORT, "run_key": ""}))
    convert(intake)
    assert intake.requested() == []
    assert intake.outcome("jan").content_hash == JANUARY_HASH
    assert not (outputs / "jan.report.json").exists()
