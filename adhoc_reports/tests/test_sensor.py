"""The sensor, tick by tick, on folders of requests."""

import json
import os
import shutil
import threading

import dagster as dg
import pytest

from adhoc_reports.defs.intake import adhoc_request_job, adhoc_request_sensor
from adhoc_reports.defs.requests import adhoc_request
from adhoc_reports.lib import intake, outputs
from adhoc_reports.lib.intake import Record
from adhoc_reports.lib.request import MAX_BYTES
from taxi_shared import storage
from taxi_shared.s3 import S3Error
from taxi_shared.storage import DataRoot

from .conftest import JANUARY, Office

QUEENS = {**JANUARY, "borough": "Queens"}


def ledger(office):
    return json.loads(intake.ledger_path(office.root).read_text())


def run_keys(office):
    """The run keys that a tick requests."""
    return [request.run_key for request in office.tick().run_requests]


def test_sensor_runs_every_second_by_default():
    assert adhoc_request_sensor.minimum_interval_seconds == 1
    assert adhoc_request_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert adhoc_request_sensor.job_name == adhoc_request_job.name == "adhoc_request_job"


def test_request_becomes_one_run_with_its_values_and_name(office):
    office.put("jan.json")
    (request,) = office.tick().run_requests
    config = request.run_config["ops"]["adhoc_request"]["config"]
    assert config == {"filename": "jan.json", **JANUARY}
    assert request.tags["request"] == "jan"
    assert request.run_key.startswith("jan.json ")


def test_request_is_not_requested_again(office):
    office.put("jan.json")
    assert office.requested() == ["jan.json"]
    for _ in range(3):
        assert office.requested() == []
    assert office.batch() == {}
    assert list(ledger(office)) == ["jan.json"]


def test_changed_request_is_requested_under_another_key(office):
    office.put("jan.json")
    (first,) = office.tick().run_requests
    office.tick()
    office.put("jan.json", QUEENS)
    (second,) = office.tick().run_requests
    office.put("jan.json")
    (third,) = office.tick().run_requests
    assert len({first.run_key, second.run_key, third.run_key}) == 3
    assert office.requested() == []


def test_request_is_answered_again_when_it_comes_back(office):
    office.put("jan.json")
    office.tick()
    office.tick()
    (office.root.requests / "jan.json").unlink()
    assert office.requested() == []
    assert ledger(office) == {}
    office.put("jan.json")
    assert office.requested() == ["jan.json"]


def change_hint(path, how):
    """Change what a listing says of a file, and not its content."""
    match how:
        case "chmod":
            os.chmod(path, 0o600)
        case "touch":
            os.utime(path)
        case "copy":
            shutil.copy2(path, f"{path}.copy.partial")
            os.rename(f"{path}.copy.partial", path)


@pytest.mark.parametrize("how", ["chmod", "touch", "copy"])
def test_file_of_the_same_content_is_not_answered_again(office, how):
    office.put("jan.json")
    assert office.requested() == ["jan.json"]
    office.tick()
    before = ledger(office)["jan.json"]
    change_hint(office.root.requests / "jan.json", how)
    assert office.requested() == []
    after = ledger(office)["jan.json"]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_chmod_right_after_a_tick_starts_no_run(office):
    office.put("jan.json")
    assert office.requested() == ["jan.json"]
    change_hint(office.root.requests / "jan.json", "chmod")
    assert office.requested() == []
    assert office.requested() == []


def test_one_line_break_more_is_another_content(office):
    office.put("jan.json")
    (first,) = run_keys(office)
    office.put("jan.json", json.dumps(JANUARY) + "\n")
    (second,) = run_keys(office)
    assert first != second


def test_restored_requests_start_no_runs(office):
    for number in range(250):
        office.put(f"{number}.json")
    while office.requested():
        pass
    folder = str(office.root.requests)
    shutil.copytree(folder, f"{folder}.restored")
    shutil.rmtree(folder)
    os.rename(f"{folder}.restored", folder)
    for _ in range(3):
        assert office.requested() == []


def earlier_fingerprint(office, filename):
    """What earlier releases stored of a file: the hint alone."""
    files = intake.list_requests(office.root.requests)
    return next(file.hint for file in files if file.name == filename)


def test_upgrade_answers_nothing_again_and_then_knows_contents(office):
    for name in ("jan.json", "changed.json", "a:b.json"):
        office.put(name)
    earlier = {name: earlier_fingerprint(office, name) for name in ("jan.json", "a:b.json")}
    storage.write_text(
        intake.ledger_path(office.root), json.dumps({**earlier, "changed.json": "of before"})
    )
    assert office.requested() == ["changed.json"]
    assert office.requested() == []
    assert office.errors() == {}
    for name in ("jan.json", "changed.json", "a:b.json"):
        change_hint(office.root.requests / name, "chmod")
    assert office.requested() == []
    assert office.errors() == {}


def test_upgrade_takes_over_the_cursor(office):
    office.put("jan.json")
    office.cursor = json.dumps({"jan.json": earlier_fingerprint(office, "jan.json")})
    assert office.requested() == []
    assert len(ledger(office)["jan.json"]) == 3


def test_old_name_is_refused_once_its_request_changes(office):
    office.put("a:b.json")
    storage.write_text(
        intake.ledger_path(office.root),
        json.dumps({"a:b.json": earlier_fingerprint(office, "a:b.json")}),
    )
    office.tick()
    office.put("a:b.json", QUEENS)
    assert "leave out :, which Windows does not allow" in office.skip_message()


def test_repeated_tick_requests_the_same_run_keys(office):
    office.put("jan.json")
    office.tick()
    office.put("feb.json")
    keys = [[r.run_key for r in office.tick(keep_cursor=True).run_requests] for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 1
    assert "feb.json" not in ledger(office)


def test_ledger_holds_only_files_whose_runs_are_launched(office):
    office.put("jan.json")
    office.tick()
    assert not intake.ledger_path(office.root).exists()
    office.tick()
    assert "jan.json" in ledger(office)


def test_reset_cursor_does_not_change_the_run_keys(office):
    office.put("jan.json")
    (first,) = office.tick().run_requests
    office.cursor = None
    (second,) = office.tick().run_requests
    assert first.run_key == second.run_key


def test_new_instance_answers_nothing_of_the_ledger_again(office):
    office.put("jan.json")
    office.tick()
    office.tick()
    office.cursor = None
    assert office.requested() == []


def test_damaged_ledger_is_rewritten_with_the_same_keys(office):
    office.put("jan.json")
    (first,) = office.tick().run_requests
    office.tick()
    intake.ledger_path(office.root).write_text("{half")
    (second,) = office.tick().run_requests
    assert first.run_key == second.run_key
    assert office.requested() == []


def test_missing_folder_is_no_error_and_forgets_nothing(office):
    assert "There is no folder" in office.skip_message()
    office.put("jan.json")
    office.tick()
    office.tick()
    os.rename(office.root.requests, office.root.base / "elsewhere")
    assert "There is no folder" in office.skip_message()
    assert "jan.json" in ledger(office)
    os.rename(office.root.base / "elsewhere", office.root.requests)
    assert office.requested() == []


def test_failed_listing_fails_the_tick_and_forgets_nothing(office, monkeypatch):
    office.put("jan.json")
    office.tick()
    office.tick()
    known = ledger(office)

    def denied(*_args: object, **_options: object) -> None:
        raise PermissionError("access denied")

    monkeypatch.setattr(type(office.root.requests.fs), "ls", denied)
    with pytest.raises(PermissionError, match="access denied"):
        office.tick()
    monkeypatch.undo()
    assert ledger(office) == known
    assert office.requested() == []


def test_hidden_and_partial_files_are_ignored(office):
    office.put(".jan.json")
    office.put(".jan.json.0f3a.partial")
    assert office.skip_message() == "No new or changed requests."
    assert office.errors() == {}


def bad_files(office):
    """Puts one of each kind into the folder; returns what is said of it, by the report's name."""
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
        office.put(f"{name}.json", content)
    (office.root.requests / "folder.json").mkdir()
    (office.root.requests / "link.json").symlink_to("/etc/hostname")
    (office.root.requests / "dangling.json").symlink_to("nowhere")
    os.mkfifo(office.root.requests / "pipe.json")
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


def test_bad_files_of_every_kind_hold_up_no_other(office):
    expected = bad_files(office)
    office.put("jan.json")
    assert office.requested() == ["jan.json"]
    errors = office.errors()
    for name, reason in expected.items():
        assert reason in errors[f"{name}.error.json"], name
        assert f"{name}.json" in errors[f"{name}.error.json"]
    assert len(errors) == len(expected) + 1
    assert any("another name" in reason for reason in errors.values())


def test_bad_file_is_reported_once(office):
    office.put("atlantis.json", {**JANUARY, "borough": "Atlantis"})
    assert "borough is 'Atlantis'; expected one of Bronx" in office.skip_message()
    report = office.root.outputs / "atlantis.error.json"
    assert json.loads(report.read_text())["request"] == "atlantis.json"
    report.unlink()
    assert office.skip_message() == "No new or changed requests."
    assert office.errors() == {}


def test_bad_file_that_is_changed_is_read_again(office):
    office.put("jan.json", "{}")
    assert office.requested() == []
    office.put("jan.json", {**JANUARY, "borough": "Atlantis"})
    assert "Atlantis" in office.skip_message()
    office.put("jan.json")
    assert office.requested() == ["jan.json"]


REFUSED_NAMES = (
    *("a\nb.json", "a\\b.json", "x" * 250 + ".json", "é" * 101 + ".json", "a\udcffb.json"),
    *("s3::x.json", "http:::x.json", "data:,x.json", "a:b.json", "con.json", " .json", "x .json"),
    *("\u200bx.json", "x.JSON", "x.json.txt", "x.json ", "*.json"),
)


def test_refused_names_hold_up_no_other(office):
    for name in (*REFUSED_NAMES, "jan.json"):
        office.put(name)
    assert office.requested() == ["jan.json"]
    errors = office.errors()
    assert len(errors) == len(REFUSED_NAMES)
    assert all("cannot be the name of a request: " in reason for reason in errors.values())
    reports = [json.loads(path.read_text()) for path in office.root.outputs.glob("*.error.json")]
    assert {report["request"] for report in reports} == set(REFUSED_NAMES)
    assert office.skip_message() == "No new or changed requests."


def test_misnamed_file_is_reported_with_the_name_to_use(office):
    office.put("jan.json.txt")
    assert office.skip_message() == (
        "jan.json.txt cannot be the name of a request: rename it to jan.json: the name must end "
        "with .json"
    )


def test_error_on_a_name_goes_when_the_file_is_renamed(office):
    for name in ("jan.JSON", "a:b.json", "half.json"):
        office.put(name, None if name != "half.json" else "{")
    office.tick()
    office.tick()
    assert len(office.errors()) == 3
    for name in ("jan.JSON", "a:b.json", "half.json"):
        (office.root.requests / name).rename(office.root.requests / f".{name}")
    (office.root.requests / ".jan.JSON").rename(office.root.requests / "jan.json")
    assert office.requested() == ["jan.json"]
    assert list(office.errors()) == ["half.error.json"]


def test_file_that_grows_under_another_name_is_reported_once(office):
    office.put("jan.json.txt", "{")
    assert "rename it to jan.json" in office.skip_message()
    office.put("jan.json.txt", "{}")
    assert office.skip_message() == "No new or changed requests."


def test_second_of_two_names_that_differ_by_case_is_refused(office):
    office.put("jan.json")
    assert office.requested() == ["jan.json"]
    office.put("Jan.json", QUEENS)
    assert "macOS and Windows take it for the name of jan.json" in office.skip_message()
    assert list(office.errors()) == ["Jan.error.json"]
    office.put("Jan.json", {**QUEENS, "borough": "Bronx"})
    assert office.requested() == []
    office.put("jan.json", QUEENS)
    assert office.requested() == ["jan.json"]


@pytest.mark.parametrize("error", [ValueError("bad path"), S3Error("no such bucket")])
def test_error_of_any_kind_stops_no_other_file(office, monkeypatch, error):
    office.put("bad.json", "{")
    office.put("jan.json")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "report_error", fail)
        assert office.requested() == ["jan.json"]
    assert "not JSON" in office.skip_message()


def test_request_is_answered_once_access_is_granted(office, monkeypatch):
    office.put("jan.json")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_all_bounded", lambda *_: [PermissionError("access denied")])
        assert "jan.json cannot be read; expected a file" in office.skip_message()
        for _ in range(2):
            assert office.skip_message() == "No new or changed requests."
    assert office.requested() == ["jan.json"]


def test_unreadable_files_do_not_keep_a_new_request_waiting(office, monkeypatch):
    for number in range(150):
        office.put(f"{number}.json")
    office.put("jan.json")
    os.utime(office.root.requests / "jan.json", (4e9, 4e9))  # the last to be read
    read = storage.read_all_bounded

    def read_one(folder, names, limit):
        broken = OSError(5, "Input/output error")
        return [read(folder, [n], limit)[0] if n == "jan.json" else broken for n in names]

    monkeypatch.setattr(storage, "read_all_bounded", read_one)
    assert office.requested() == ["jan.json"]


@pytest.mark.parametrize("name", ["jan 2023", "Jänner", "一月", "=a", "[a]#%&'", "x" * 100])
def test_unusual_names_become_runs(office, name):
    office.put(f"{name}.json")
    (request,) = office.tick().run_requests
    assert request.tags["request"] == name
    job = dg.Definitions(
        [adhoc_request], jobs=[adhoc_request_job], resources={"database": office.database}
    ).resolve_job_def("adhoc_request_job")
    run = office.instance.create_run_for_job(
        job, run_config=request.run_config, tags=dict(request.tags)
    )
    assert office.instance.get_run_by_id(run.run_id).tags["request"] == name


def test_error_that_cannot_be_written_is_retried(office):
    office.put("bad.json", "{}")
    office.put("jan.json")
    (office.root.outputs / "bad.error.json").mkdir(parents=True)
    assert office.requested() == ["jan.json"]
    (office.root.outputs / "bad.error.json").rmdir()
    assert "borough is missing" in office.skip_message()
    assert "bad.error.json" in office.errors()


def test_file_that_times_out_is_read_at_the_next_tick(office, monkeypatch):
    office.put("jan.json")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_all_bounded", lambda *_: [TimeoutError("slow down")])
        assert office.requested() == []
    assert office.requested() == ["jan.json"]


def test_ten_thousand_files_are_requested_100_per_tick(office):
    office.root.requests.mkdir(parents=True)
    content = json.dumps(JANUARY)
    for number in range(10_000):
        (office.root.requests / f"request {number:05}.json").write_text(content)
    first = office.requested()
    second = office.requested()
    assert len(set(first) | set(second)) == 200
    assert len(office.batch()) == 100
    assert len(office.cursor) < 10_000
    assert len(ledger(office)) == 100

    files = intake.list_requests(office.root.requests)
    records = {file.name: Record(file.hint, "content") for file in files}
    intake.save_ledger(intake.ledger_path(office.root), records)
    assert office.requested() == []
    assert office.cursor == "{}"


def test_the_cursor_stays_bounded_for_the_longest_names(office):
    for number in range(150):
        office.put("\x7f" * 200 + f"{number}.json", "{}")
    office.tick()
    assert len(office.batch()) == 100
    assert len(office.cursor) < 200_000


def test_skip_message_lists_ten_reasons(office):
    for number in range(50):
        office.put(f"{number}.json", "{}")
    assert "and 40 more, see outputs/*.error.json" in office.skip_message()


def test_request_on_s3_is_answered_once_per_content(instance, s3_root):
    office = Office(DataRoot.at(s3_root), instance)
    requests, outputs_folder = office.root.requests, office.root.outputs
    assert office.skip_message() == f"There is no folder {requests} yet."
    storage.write_text(requests / "jan.json", json.dumps(JANUARY))
    storage.write_text(requests / "bad.json", "{}")
    (first,) = office.tick().run_requests
    assert first.tags["request"] == "jan"
    reason = json.loads(storage.read_text(outputs_folder / "bad.error.json"))["reason"]
    assert "field borough is missing" in reason
    assert office.requested() == []
    assert sorted(json.loads(storage.read_text(intake.ledger_path(office.root)))) == [
        "bad.json",
        "jan.json",
    ]
    storage.write_text(requests / "jan.json", json.dumps(JANUARY))
    assert office.requested() == []
    storage.write_text(requests / "jan.json", json.dumps(QUEENS))
    (second,) = office.tick().run_requests
    assert second.run_key != first.run_key
    (requests / "jan.json").unlink()
    assert office.requested() == []
    assert list(json.loads(storage.read_text(intake.ledger_path(office.root)))) == ["bad.json"]


def test_missing_bucket_fails_the_tick_and_is_named(instance, s3_root):
    office = Office(DataRoot.at(s3_root.replace("tests-", "gone-")), instance)
    with pytest.raises(S3Error, match=r"s3://gone-.*there is no such bucket"):
        office.tick()


def test_watching_tick_sees_a_request_as_it_is_dropped(office, monkeypatch):
    monkeypatch.setenv("TAXI_REQUEST_WATCH_SECONDS", "20")
    office.put("first.json")
    office.tick()
    threading.Timer(0.3, office.put, ["second.json"]).start()
    assert [request.tags["request"] for request in office.tick().run_requests] == ["second"]


def test_watching_tick_without_requests_ends_with_a_reason(office, monkeypatch):
    monkeypatch.setenv("TAXI_REQUEST_WATCH_SECONDS", "0.2")
    office.put("first.json")
    office.tick()
    assert office.tick().skip_reason.skip_message == "No new or changed requests."
