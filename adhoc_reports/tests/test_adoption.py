"""The upgrade: what an earlier release has left is shown as before, and answered no second time.

The documents are as version 0.9 wrote them.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adhoc_reports.lib import adoption
from adhoc_reports.lib.catalog import read_catalog
from adhoc_reports.lib.outcome import Status
from adhoc_reports.lib.store import ReportStore
from taxi_shared import keys

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
CATALOG = {
    "months": [{"month": "2023-01-01", "loaded": "2026-11-27T04:31:58Z", "trips": 2}],
    "zones": {"Manhattan": ["Zone 12", "Zone 4"]},
    "versions": {"2023-01-01": "b09c7ea61bfb6f4c", "": "c86020bdfc58f6a3"},
    "publishers": ["not recorded"],
}


def write(intake: Intake, name: str, document: dict[str, Any]) -> Path:
    """A document of an earlier release in `outputs`."""
    path = Path(str(intake.root.outputs)) / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def write_ledger(intake: Intake, records: dict[str, Any]) -> Path:
    path = Path(str(intake.root.staging)) / "requests_seen.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(records))
    return path


def test_report_becomes_an_outcome_and_a_partition(intake: Intake) -> None:
    intake.put("jan.json")
    write(intake, "jan.report.json", REPORT)
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


def test_report_of_a_changed_request_is_answered_anew(intake: Intake) -> None:
    intake.put("jan.json", {**JANUARY, "borough": "Queens"})
    write(intake, "jan.report.json", REPORT)
    assert intake.requested() == ["jan"]


def test_failure_keeps_the_report_of_before(intake: Intake) -> None:
    intake.put("jan.json")
    write(intake, "jan.report.json", {**REPORT, "run_key": f"jan.json {'0' * 32} 1"})
    write(intake, "jan.failed.json", FAILURE)
    assert intake.requested() == []
    outcome = intake.outcome("jan")
    assert (outcome.status, outcome.reason) == (Status.FAILED, FAILURE["reason"])
    assert outcome.details == FAILURE["details"]
    assert outcome.report
    assert intake.outputs() == ["jan.json"]
    assert intake.instance.get_materialized_partitions(keys.ADHOC_REQUEST) == set()


def test_failure_without_a_request_is_dropped(intake: Intake) -> None:
    intake.put("other.json", "{}")
    write(intake, "jan.failed.json", FAILURE)
    intake.tick()
    assert intake.outputs() == ["other.json"]


def test_rejection_is_taken_over_as_it_is(intake: Intake) -> None:
    intake.put("x.JSON")
    write(intake, "x_JSON-2494b5fd.error.json", MISNAMED)
    assert intake.skip_message() == "No new or changed requests."
    assert intake.rejections() == {"x_JSON-2494b5fd": MISNAMED["reason"]}
    assert intake.partitions == []


def test_unknown_zone_stays_rejected(intake: Intake) -> None:
    intake.put("jan.json")
    rejection = {
        "request": "jan.json",
        "reason": "zone is 'Nowhere', which Manhattan does not have",
        "run_key": FAILURE["run_key"],
    }
    write(intake, "jan.error.json", rejection)
    write(intake, "jan.failed.json", FAILURE)
    assert intake.requested() == []
    outcome = intake.outcome("jan")
    assert (outcome.status, outcome.reason) == (Status.REJECTED, rejection["reason"])
    assert outcome.request


def test_report_without_a_request_is_still_shown(intake: Intake) -> None:
    intake.put("other.json", "{}")
    write(intake, "jan.report.json", REPORT)
    intake.tick()
    assert intake.store.scan().entries["jan"].status is Status.DONE
    assert intake.partitions == []


def test_report_of_a_name_that_is_refused_today_is_shown(intake: Intake) -> None:
    intake.put("a:b.json")
    request = {**REPORT["request"], "filename": "a:b.json"}
    run_key = f"a:b.json {JANUARY_HASH} 1"
    write(intake, "a:b.report.json", {**REPORT, "request": request, "run_key": run_key})
    assert intake.requested() == []
    (entry,) = intake.store.scan().entries.values()
    assert (entry.name, entry.status) == ("a:b", Status.DONE)
    assert intake.rejections() == {}
    assert intake.partitions == []


def test_run_key_without_a_hash_is_compared_by_hint(intake: Intake) -> None:
    intake.put("jan.json")
    os.utime(str(intake.root.requests / "jan.json"), (4e9, 4e9))  # later than the report
    (entry,) = intake.store.scan().entries.values()
    assert entry.file
    write(intake, "jan.report.json", {**REPORT, "run_key": f"jan.json {entry.file.hint}"})
    assert intake.requested() == []


@pytest.mark.parametrize(("seconds", "requested"), [(1, []), (4e9, ["jan"])])
def test_report_without_run_key_is_compared_by_time(
    intake: Intake, seconds: float, requested: list[str]
) -> None:
    intake.put("jan.json")
    os.utime(str(intake.root.requests / "jan.json"), (seconds, seconds))
    write(intake, "jan.report.json", {**REPORT, "run_key": ""})
    assert intake.requested() == requested


def test_ledger_says_what_was_handled(intake: Intake) -> None:
    intake.put("jan.json")
    os.utime(str(intake.root.requests / "jan.json"), (4e9, 4e9))
    write(intake, "jan.report.json", {**REPORT, "run_key": ""})
    ledger = write_ledger(intake, {"jan.json": ["a hint", JANUARY_HASH, False]})
    assert intake.requested() == []
    assert not ledger.exists()


def test_ledger_of_hints_says_what_was_handled(intake: Intake) -> None:
    intake.put("jan.json")
    os.utime(str(intake.root.requests / "jan.json"), (4e9, 4e9))
    (entry,) = intake.store.scan().entries.values()
    assert entry.file
    write(intake, "jan.report.json", {**REPORT, "run_key": ""})
    write_ledger(intake, {"jan.json": entry.file.hint})
    assert intake.requested() == []


@pytest.mark.parametrize("ledger", ["", "{half", "[]", '{"jan.json": 1}', "[" * 100_000])
def test_damaged_ledger_counts_as_none(intake: Intake, ledger: str) -> None:
    intake.put("jan.json")
    write(intake, "jan.report.json", REPORT)
    write_ledger(intake, {}).write_text(ledger)
    assert intake.requested() == []


def test_catalog_moves_to_its_folder(intake: Intake) -> None:
    old = write(intake, "available_data.json", CATALOG)
    intake.put("jan.json", "{}")
    intake.tick()
    assert not old.exists()
    catalog = read_catalog(intake.root)
    assert [month.trips for month in catalog.months] == [2]
    assert catalog.zones == {"Manhattan": ("Zone 12", "Zone 4")}


def test_upgrade_goes_on_after_it_was_killed(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jan", "feb"):
        intake.put(f"{name}.json")
        request = {**REPORT["request"], "filename": f"{name}.json"}
        run_key = f"{name}.json {JANUARY_HASH} 1"
        write(intake, f"{name}.report.json", {**REPORT, "request": request, "run_key": run_key})
    write(intake, "available_data.json", CATALOG)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("adhoc_reports.lib.adoption.storage.remove", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                intake.tick()
    assert intake.requested() == []
    assert intake.outputs() == ["feb.json", "jan.json"]
    assert intake.partitions == ["feb", "jan"]


def test_nothing_is_answered_until_all_is_taken_over(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "REQUESTS_PER_TICK", 1)
    intake.put("feb.json")
    for name in ("jan", "xmas"):
        intake.put(f"{name}.json")
        request = {**REPORT["request"], "filename": f"{name}.json"}
        run_key = f"{name}.json {JANUARY_HASH} 1"
        write(intake, f"{name}.report.json", {**REPORT, "request": request, "run_key": run_key})
    assert intake.requested() == []
    assert intake.requested() == ["feb"]


def test_outcome_of_today_is_not_replaced_by_an_old_document(loaded: Intake) -> None:
    loaded.put("jan.json")
    loaded.answer()
    old = write(loaded, "jan.failed.json", FAILURE)
    os.utime(old, (1, 1))
    assert loaded.requested() == []
    assert loaded.outcome("jan").status is Status.DONE
    assert not old.exists()


def test_file_that_only_looks_like_an_old_document_stays(intake: Intake) -> None:
    other = write(intake, "sales.report.json", {"total": 3})
    intake.put("jan.json")
    assert intake.requested() == ["jan"]
    assert other.exists()


def test_outcome_of_a_request_named_like_a_document_is_none(loaded: Intake) -> None:
    loaded.put("jan.report.json")
    loaded.put("jan.json")
    assert sorted(loaded.answer()) == ["jan", "jan.report"]
    assert loaded.requested() == []
    index = ReportStore(loaded.root).scan()
    assert {entry.status for entry in index.entries.values()} == {Status.DONE}
