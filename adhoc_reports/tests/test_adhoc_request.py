"""The asset, by real runs: from a request to files and metadata."""

import base64
import csv
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from matplotlib.figure import Figure

from adhoc_reports import definitions
from adhoc_reports.defs.requests import AdhocRequestConfig, adhoc_request
from adhoc_reports.lib import chart
from adhoc_reports.lib.failure import CANCELLED, explain_error
from adhoc_reports.lib.outcome import Report, Status
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.services import SERVICES
from taxi_shared import keys, provenance
from taxi_shared.lake import Lake
from taxi_shared.tables import TRIPS

from .conftest import JANUARY, Intake, write_trips, write_zones


def run(intake: Intake, **changes: str) -> dg.ExecuteInProcessResult:
    """A run that writes the request file jan.json first."""
    intake.put("jan.json", {**JANUARY, **changes})
    return intake.run("jan")


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    (event,) = result.asset_materializations_for_node("adhoc_request")
    assert event.partition == "jan"
    return {name: value.value for name, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = (e for e in result.all_events if e.is_step_failure)
    return str(event.step_failure_data.error)


def report_of(intake: Intake) -> Report:
    report = intake.outcome("jan").report
    assert report
    return report


def read_csv(intake: Intake) -> str:
    return Path(str(intake.root.outputs / "jan.csv")).read_text()


def test_request_is_answered_by_a_chart_and_its_numbers(loaded: Intake) -> None:
    shown = metadata(run(loaded))
    rows = list(csv.DictReader(read_csv(loaded).splitlines()))
    assert len(rows) == 24
    assert rows[8]["Sunday"] == rows[8]["Tuesday"] == rows[23]["Tuesday"] == "1"
    png = (loaded.root.outputs / "jan.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert shown["num_trips"] == 3
    assert shown["dagster/row_count"] == 24
    assert shown["chart file"].endswith("outputs/jan.png")
    assert shown["numbers file"].endswith("outputs/jan.csv")
    assert shown["seconds"] > 0
    assert shown["bytes"] == len(png) + len(read_csv(loaded))
    assert "| 8 | 1 | 0 | 1 |" in shown["numbers"]
    preview = re.fullmatch(r"!\[Chart\]\(data:image/png;base64,(.*)\)", shown["chart"])
    assert preview
    assert base64.b64decode(preview.group(1)) == png
    assert loaded.outputs() == ["jan.csv", "jan.json", "jan.png"]


def test_outcome_has_the_numbers_and_what_they_cover(loaded: Intake, lake: Lake) -> None:
    february = [
        (264, datetime(2023, 1, 20)),
        (None, datetime(2023, 1, 21)),
        (4, None),
        (4, datetime(2023, 2, 1)),
    ]
    write_trips(lake, "2023-02-01", february)
    result = run(loaded)
    outcome, report = loaded.outcome("jan"), report_of(loaded)
    assert outcome.status is Status.DONE
    assert outcome.request == Question.model_validate(JANUARY)
    assert outcome.run_id == result.run_id
    assert report.pickups.to_csv() == read_csv(loaded)
    assert [(str(m.month), m.trips) for m in report.coverage.months] == [
        ("2023-01-01", 4),
        ("2023-02-01", 2),
    ]
    file = lake.snapshot().files(TRIPS)["2023-01-01"]
    assert report.coverage.months[0].loaded == file.modified.replace(microsecond=0)
    assert [(each.reason, each.trips) for each in report.coverage.exclusions] == [
        ("Picked up elsewhere than in Manhattan.", 1),
        ("Picked up in a zone that is unknown or outside New York.", 2),
        ("Without a pickup time, in the files of these months.", 1),
    ]


def test_report_says_how_many_of_each_weekday_were_counted(loaded: Intake) -> None:
    run(loaded)
    assert report_of(loaded).weekdays == (2, 2, 3, 2, 2, 2, 2)  # 10 to 24 January 2023
    run(loaded, start_date="2023-01-25", end_date="2023-02-08")  # February is not loaded
    assert report_of(loaded).weekdays == (1, 1, 1, 1, 1, 1, 1)
    assert report_of(loaded).remark == "Not loaded, so not counted: February 2023."


def test_report_names_the_publishers_of_its_months(loaded: Intake, lake: Lake) -> None:
    trips = [(4, datetime(2023, 1, 10, 8))]
    write_trips(lake, "2023-01-01", trips, publisher=provenance.SYNTHETIC)
    write_trips(lake, "2023-03-01", [(4, datetime(2023, 3, 1))], publisher=provenance.TLC)
    shown = metadata(run(loaded))
    assert report_of(loaded).publishers == (provenance.SYNTHETIC,)
    assert shown["source"] == f"Source: {provenance.SYNTHETIC}"


def test_trips_of_months_not_loaded_are_excluded(loaded: Intake, lake: Lake) -> None:
    february = [(4, datetime(2023, 2, 1, 8)), (264, datetime(2023, 3, 1))]
    write_trips(lake, "2023-02-01", [*february, (4, datetime(2023, 3, 1, 1)), (7, february[0][1])])
    run(loaded, start_date="2023-02-01", end_date="2023-03-05")
    report = report_of(loaded)
    assert report.pickups.total == 1
    assert sum(report.weekdays) == 28
    assert [(each.reason, each.trips) for each in report.coverage.exclusions] == [
        ("Picked up elsewhere than in Manhattan.", 1),
        ("Picked up on days of months that are not loaded.", 2),
    ]


def test_zone_and_whole_city_are_areas_too(loaded: Intake) -> None:
    assert metadata(run(loaded, zone="Zone 12"))["num_trips"] == 1
    assert metadata(run(loaded, borough="Queens", zone="Zone 7"))["num_trips"] == 1
    assert metadata(run(loaded, borough="New York City"))["num_trips"] == 4


def test_whole_city_excludes_newark_and_unknown_zones(loaded: Intake, lake: Lake) -> None:
    zones = [1, 3, 4, 7, 12, 23, 25, 264, None]
    write_trips(lake, "2023-01-01", [(zone, datetime(2023, 1, 12)) for zone in zones])
    assert metadata(run(loaded, borough="New York City"))["num_trips"] == 6


def test_zone_of_another_borough_rejects_the_request(loaded: Intake) -> None:
    reason = "zone is 'Zone 7', which Manhattan does not have; expected one of Zone 12, Zone 4"
    assert reason in failure(run(loaded, zone="Zone 7"))
    outcome = loaded.outcome("jan")
    assert (outcome.status, outcome.reason) == (Status.REJECTED, reason)
    assert outcome.request
    assert loaded.requested() == []


def test_nothing_goes_through_an_io_manager(loaded: Intake) -> None:
    assert not [event for event in run(loaded).all_events if event.is_handled_output]


def test_run_of_a_corrected_request_replaces_the_rejection(loaded: Intake) -> None:
    for name in ("jan", "feb"):
        loaded.put(f"{name}.json", "{}")
    loaded.tick()
    assert list(loaded.rejections()) == ["feb", "jan"]
    run(loaded)
    assert list(loaded.rejections()) == ["feb"]


def test_failed_run_leaves_its_reason_and_no_report(
    loaded: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(chart, "draw", lambda *_: 1 / 0)
        result = run(loaded)
    assert not result.success
    assert loaded.outputs() == ["jan.json"]
    outcome = loaded.outcome("jan")
    assert (outcome.status, outcome.run_id) == (Status.FAILED, result.run_id)
    assert outcome.reason.startswith("Unexpected error.")
    assert outcome.details == "ZeroDivisionError: division by zero"
    assert outcome.report is None
    assert loaded.requested() == []
    run(loaded)
    assert loaded.outputs() == ["jan.csv", "jan.json", "jan.png"]


def test_report_of_before_is_kept_meanwhile_and_after_a_failure(
    loaded: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(loaded)
    before = report_of(loaded)

    def fail(*_: object) -> None:
        outcome = loaded.outcome("jan")
        assert (outcome.status, outcome.report) == (Status.GENERATING, before)
        raise MemoryError

    monkeypatch.setattr(chart, "draw", fail)
    assert not run(loaded).success
    outcome = loaded.outcome("jan")
    assert (outcome.status, outcome.report) == (Status.FAILED, before)
    assert not run(loaded, borough="Queens").success
    assert loaded.outcome("jan").report is None


def test_interrupted_run_is_recorded(loaded: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(chart, "draw", interrupt)
    assert not run(loaded).success
    assert loaded.outcome("jan").reason == CANCELLED


def test_report_is_computed_as_of_a_version(loaded: Intake) -> None:
    lake = Lake(loaded.root)
    then = lake.history(TRIPS)[0].version
    before = metadata(run(loaded))["num_trips"]
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 12, 8))])
    assert metadata(run(loaded))["num_trips"] == 1
    loaded.put("jan.json", JANUARY)
    assert metadata(loaded.run("jan", trips_version=then))["num_trips"] == before > 1
    assert report_of(loaded).remark == f"Computed from version {then} of the trips."


@pytest.mark.parametrize("service", ["green", "fhv"])
def test_version_is_that_of_the_services_own_table(loaded: Intake, service: str) -> None:
    lake, table = Lake(loaded.root), SERVICES[service].trips
    for count in (1, 2, 3):
        trips = [(4, datetime(2023, 1, 12, 8))] * count
        write_trips(lake, "2023-01-01", trips, table=table)
    loaded.put("jan.json", {**JANUARY, "service": service})
    assert metadata(loaded.run("jan", trips_version=2))["num_trips"] == 2
    assert report_of(loaded).remark == "Computed from version 2 of the trips."
    assert metadata(loaded.run("jan"))["num_trips"] == 3


def test_damaged_file_of_trips_is_named(loaded: Intake) -> None:
    file, *_ = Lake(loaded.root).snapshot().files(TRIPS).values()
    file.path.write_bytes(b"damaged")
    assert not run(loaded).success
    outcome = loaded.outcome("jan")
    assert outcome.reason.startswith("A file of the trips is damaged.")
    assert ".parquet" in outcome.details


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("OutOfMemoryException: failed to allocate", "There was not enough memory"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("S3Error: s3://b/x: does not answer", "The storage did not answer"),
        ("BinderException: no column x", "The data lacks a column or table"),
        ("DagsterExecutionInterruptedError: ", "The run was cancelled"),
        ("KeyError: 'x'", "Unexpected error"),
    ],
)
def test_error_is_explained_in_plain_words(text: str, reason: str) -> None:
    assert explain_error(["DagsterExecutionError: x", text]).startswith(reason)


def test_same_request_gives_the_same_bytes(loaded: Intake) -> None:
    answers = []
    for _ in range(2):
        run(loaded)
        answers.append(
            [(loaded.root.outputs / f"jan.{kind}").read_bytes() for kind in ("csv", "png")]
        )
    assert answers[0] == answers[1]


def test_run_in_the_midst_of_another_leaves_a_whole_report(
    loaded: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_png = chart.to_png

    def run_another_meanwhile(figure: Figure) -> bytes:
        monkeypatch.setattr(chart, "to_png", to_png)
        with dg.DagsterInstance.ephemeral() as instance:
            run(Intake(loaded.root, instance), borough="Queens")
        return to_png(figure)

    monkeypatch.setattr(chart, "to_png", run_another_meanwhile)
    assert metadata(run(loaded))["num_trips"] == 3
    assert "\n8,1,0,1," in read_csv(loaded)
    assert loaded.outputs() == ["jan.csv", "jan.json", "jan.png"]
    assert loaded.requested() == ["jan"]  # its file asks for Queens now


def test_request_by_hand_writes_its_file(loaded: Intake) -> None:
    assert loaded.run("jan", filename="jan.json", **JANUARY).success
    assert loaded.store.read_request("jan.json")
    assert loaded.outcome("jan").status is Status.DONE
    assert loaded.requested() == []
    assert loaded.run("jan", **JANUARY).success


def test_request_by_hand_does_not_replace_another(loaded: Intake) -> None:
    run(loaded)
    reason = failure(loaded.run("jan", **{**JANUARY, "borough": "Queens"}))
    assert "jan.json asks for something else than this run's config" in reason
    assert loaded.outcome("jan").status is Status.DONE
    assert loaded.requested() == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"filename": "feb.json"}, "filename is 'feb.json'; expected jan.json"),
        ({"borough": "Queens"}, "field start_date is missing; field end_date is missing"),
        ({**JANUARY, "borough": "Atlantis"}, "expected one of Bronx, Brooklyn"),
        ({**JANUARY, "end_date": "2023-01-10"}, "2023-01-10 is not before end_date 2023-01-10"),
    ],
)
def test_invalid_config_fails_the_run_and_writes_nothing(
    loaded: Intake, config: dict[str, str], reason: str
) -> None:
    assert reason in failure(loaded.run("jan", **config))
    assert not loaded.root.outputs.exists()
    assert not loaded.root.requests.exists()


def test_partition_without_a_request_says_what_to_do(loaded: Intake) -> None:
    reason = failure(loaded.run("jan"))
    assert "requests/jan.json; write it, or fill in borough, start_date and end_date" in reason
    assert not loaded.root.outputs.exists()


@pytest.mark.parametrize("name", ["../jan", "a/jan", "/tmp/jan", ".jan", "manhattan_map", "a:b"])
def test_partition_of_a_refused_name_fails(loaded: Intake, name: str) -> None:
    assert "cannot be the name of a request" in failure(loaded.run(name, **JANUARY))
    assert not loaded.root.outputs.exists()


def test_run_without_a_partition_says_to_choose_one(loaded: Intake) -> None:
    result = dg.materialize(
        [adhoc_request],
        instance=loaded.instance,
        resources=loaded.resources,
        raise_on_error=False,
    )
    assert "Choose a partition: the report's name, such as jan" in failure(result)


def test_dates_outside_the_data_give_zeros_and_a_warning(loaded: Intake) -> None:
    shown = metadata(run(loaded, start_date="2031-01-01", end_date="2031-01-02"))
    assert shown["num_trips"] == 0
    assert shown["remark"] == "Not loaded, so not counted: January 2031."
    assert read_csv(loaded).count("\n") == 25
    assert (loaded.root.outputs / "jan.png").exists()


def test_empty_lake_gives_zeros_and_a_warning(
    intake: Intake, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = metadata(run(intake))
    assert shown["num_trips"] == 0
    assert "zones are not loaded" in shown["remark"]
    log = capsys.readouterr().err
    assert "WARNING" in log
    assert "Load taxi_trips and taxi_zones, then try again." in log


def test_zones_without_trips_give_zeros(intake: Intake, lake: Lake) -> None:
    write_zones(lake)
    assert metadata(run(intake))["remark"] == "Not loaded, so not counted: January 2023."


def test_launchpad_explains_every_field() -> None:
    fields = AdhocRequestConfig.model_fields
    assert set(fields) == {"filename", "trips_version", *Question.model_fields}
    assert all(field.description for field in fields.values())
    assert not any(field.is_required() for field in fields.values())


def test_asset_is_downstream_of_the_other_teams_tables() -> None:
    assert adhoc_request.key == keys.ADHOC_REQUEST
    assert adhoc_request.asset_deps[adhoc_request.key] == {
        keys.TAXI_TRIPS,
        keys.GREEN_TRIPS,
        keys.TAXI_ZONES,
    }
    assert adhoc_request.group_names_by_key[adhoc_request.key] == keys.REQUESTS
    assert isinstance(adhoc_request.partitions_def, dg.DynamicPartitionsDefinition)


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(definitions.defs)
    repository = definitions.defs.get_repository_def()
    assert repository.get_job("adhoc_request_job").executor_def is dg.in_process_executor
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "adhoc_request_sensor",
        "adhoc_request_failure_sensor",
        "adhoc_request_cancellation_sensor",
        "adhoc_request_retention_sensor",
        "adhoc_reports_automation_sensor",
    }


def test_request_of_another_kind_is_answered(loaded: Intake) -> None:
    trend = {**JANUARY, "kind": "trend", "interval": "week"}
    loaded.put("weeks.json", trend)
    assert loaded.answer() == ["weeks"]
    outcome = loaded.outcome("weeks")
    assert outcome.report
    assert outcome.report.table.rows == (
        ("2023-01-10", 5, 1, 0.2),
        ("2023-01-15", 7, 1, 1 / 7),
        ("2023-01-22", 3, 1, 1 / 3),
    )
    written = (loaded.root.outputs / "weeks.csv").read_text().splitlines()
    assert written[:2] == ["week,days,trips,trips_per_day", "2023-01-10,5,1,0.2"]
    assert loaded.requested() == []


def test_launchpad_asks_for_another_kind(loaded: Intake) -> None:
    assert loaded.run("days", **JANUARY, kind="trend").success
    assert loaded.outcome("days").request == Question.model_validate({**JANUARY, "kind": "trend"})
