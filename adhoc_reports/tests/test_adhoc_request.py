"""The asset, by real runs: from a config to files and metadata."""

import base64
import csv
import re
from dataclasses import replace
from datetime import datetime

import dagster as dg
import pytest
from matplotlib.figure import Figure

from adhoc_reports import definitions
from adhoc_reports.defs.intake import adhoc_request_job
from adhoc_reports.defs.requests import AdhocRequestConfig, adhoc_request
from adhoc_reports.lib import chart
from adhoc_reports.lib.failure import Failure, in_plain_words
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import Request
from taxi_shared import keys, provenance
from taxi_shared.lake import Lake
from taxi_shared.tables import TRIPS

from .conftest import JANUARY, Office, write_trips, write_zones


def run(
    office: Office, *, expect_success: bool = True, **changes: str
) -> dg.ExecuteInProcessResult:
    config = {"filename": "jan.json", **JANUARY, **changes}
    result = dg.materialize(
        [adhoc_request],
        instance=office.instance,
        resources={"database": office.database},
        run_config={"ops": {"adhoc_request": {"config": config}}},
        raise_on_error=False,
    )
    assert result.success is expect_success
    return result


def job_over(office: Office) -> dg.JobDefinition:
    defs = dg.Definitions(
        assets=[adhoc_request], jobs=[adhoc_request_job], resources={"database": office.database}
    )
    return defs.resolve_job_def("adhoc_request_job")


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node("adhoc_request")
    return {name: value.value for name, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (e for e in result.all_events if e.is_step_failure)
    return str(event.step_failure_data.error)


def answers(office: Office) -> list[str]:
    return sorted(path.name for path in office.root.outputs.iterdir())


@pytest.fixture
def loaded(office, lake):
    write_zones(lake)
    trips = [
        (4, datetime(2023, 1, 10, 8)),
        (4, datetime(2023, 1, 15, 8)),
        (7, datetime(2023, 1, 15)),
    ]
    write_trips(lake, "2023-01-01", [*trips, (12, datetime(2023, 1, 24, 23, 59))])
    return office


def test_a_request_is_answered_by_a_chart_and_its_numbers(loaded):
    result = run(loaded)
    rows = list(csv.DictReader((loaded.root.outputs / "jan.csv").open()))
    assert len(rows) == 24
    assert rows[8]["Sunday"] == rows[8]["Tuesday"] == rows[23]["Tuesday"] == "1"
    png = (loaded.root.outputs / "jan.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    shown = metadata(result)
    assert shown["num_trips"] == 3
    assert shown["dagster/row_count"] == 24
    assert shown["chart file"].endswith("outputs/jan.png")
    assert shown["numbers file"].endswith("outputs/jan.csv")
    assert shown["seconds"] > 0
    assert "| 8 | 1 | 0 | 1 |" in shown["numbers"]
    preview = re.fullmatch(r"!\[Chart\]\(data:image/png;base64,(.*)\)", shown["chart"])
    assert base64.b64decode(preview.group(1)) == png
    assert answers(loaded) == ["jan.csv", "jan.png", "jan.report.json"]


def test_the_report_has_the_numbers_and_what_they_rest_on(loaded, lake):
    write_trips(
        lake,
        "2023-02-01",
        [
            (264, datetime(2023, 1, 20)),
            (None, datetime(2023, 1, 21)),
            (4, None),
            (4, datetime(2023, 2, 1)),
        ],
    )
    result = run(loaded)
    report = Report.model_validate_json((loaded.root.outputs / "jan.report.json").read_bytes())
    assert report.request == Request(filename="jan.json", **JANUARY)
    assert report.pickups.to_csv() == (loaded.root.outputs / "jan.csv").read_text()
    assert report.run_id == result.run_id
    assert [(str(m.month), m.trips) for m in report.basis.months] == [
        ("2023-01-01", 4),
        ("2023-02-01", 2),
    ]
    file = lake.file(TRIPS, "2023-01-01").stat().st_mtime
    assert report.basis.months[0].loaded.timestamp() == int(file)
    assert [(each.reason, each.trips) for each in report.basis.left_out] == [
        ("Picked up elsewhere than in Manhattan.", 1),
        ("Picked up in a zone that is unknown or outside New York.", 2),
        ("Without a pickup time, in the files of these months.", 1),
    ]


def report_of(office: Office) -> Report:
    return Report.model_validate_json((office.root.outputs / "jan.report.json").read_bytes())


def test_report_says_how_many_of_each_weekday_were_counted(loaded):
    run(loaded)
    assert report_of(loaded).weekdays == (2, 2, 3, 2, 2, 2, 2)  # 10 to 24 January 2023
    run(loaded, start_date="2023-01-25", end_date="2023-02-08")  # February is not loaded
    assert report_of(loaded).weekdays == (1, 1, 1, 1, 1, 1, 1)
    assert report_of(loaded).remark == "Not loaded, so not counted: 2023-02."


def test_older_report_counts_the_weekdays_of_its_months(loaded):
    run(loaded)
    older = report_of(loaded).model_dump(mode="json", exclude={"weekdays", "publishers"})
    found = Report.model_validate(older)
    assert found.weekdays == (2, 2, 3, 2, 2, 2, 2)
    assert found.publishers == ()
    to_february = {**older["request"], "end_date": "2023-02-08"}  # which was not loaded
    assert sum(Report.model_validate({**older, "request": to_february}).weekdays) == 31 - 9


def test_report_names_the_publishers_of_its_months(loaded, lake):
    trips = [(4, datetime(2023, 1, 10, 8))]
    write_trips(lake, "2023-01-01", trips, publisher=provenance.SYNTHETIC)
    write_trips(lake, "2023-03-01", [(4, datetime(2023, 3, 1))], publisher=provenance.TLC)
    shown = metadata(run(loaded))
    assert report_of(loaded).publishers == (provenance.SYNTHETIC,)
    assert shown["source"] == f"Source: {provenance.SYNTHETIC}"


def test_trips_of_months_not_loaded_are_left_out(loaded, lake):
    february = [(4, datetime(2023, 2, 1, 8)), (264, datetime(2023, 3, 1))]
    write_trips(lake, "2023-02-01", [*february, (4, datetime(2023, 3, 1, 1)), (7, february[0][1])])
    run(loaded, start_date="2023-02-01", end_date="2023-03-05")
    report = report_of(loaded)
    assert report.pickups.total == 1
    assert sum(report.weekdays) == 28
    assert [(each.reason, each.trips) for each in report.basis.left_out] == [
        ("Picked up elsewhere than in Manhattan.", 1),
        ("Picked up on days of months that are not loaded.", 2),
    ]


def test_a_zone_and_the_whole_city_are_areas_too(loaded):
    assert metadata(run(loaded, zone="Zone 12"))["num_trips"] == 1
    assert metadata(run(loaded, borough="Queens", zone="Zone 7"))["num_trips"] == 1
    assert metadata(run(loaded, borough="New York City"))["num_trips"] == 4


def test_the_whole_city_is_without_newark_and_unknown_zones(loaded, lake):
    zones = [1, 3, 4, 7, 12, 23, 25, 264, None]
    write_trips(lake, "2023-01-01", [(zone, datetime(2023, 1, 12)) for zone in zones])
    assert metadata(run(loaded, borough="New York City"))["num_trips"] == 6


def test_a_zone_that_its_borough_does_not_have_fails_the_run_and_is_reported(loaded):
    reason = "zone is 'Zone 7', which Manhattan does not have; expected one of Zone 12, Zone 4"
    assert reason in failure(run(loaded, expect_success=False, zone="Zone 7"))
    assert loaded.errors() == {"jan.error.json": reason}


def test_nothing_goes_through_an_io_manager(loaded):
    result = run(loaded)
    assert not [event for event in result.all_events if event.is_handled_output]


def test_the_sensors_request_runs_the_asset(loaded):
    loaded.put("Jänner [1].json")
    (request,) = loaded.tick().run_requests
    result = job_over(loaded).execute_in_process(
        run_config=request.run_config, tags=request.tags, instance=loaded.instance
    )
    assert result.success
    assert (loaded.root.outputs / "Jänner [1].png").exists()


def test_a_request_whose_file_is_gone_is_answered_all_the_same(loaded):
    loaded.put("jan.json")
    (request,) = loaded.tick().run_requests
    (loaded.root.requests / "jan.json").unlink()
    assert job_over(loaded).execute_in_process(run_config=request.run_config).success


def test_an_answer_withdraws_the_report_on_what_was_wrong_before(loaded):
    loaded.put("jan.json", "{}")
    loaded.put("feb.json", "{}")
    loaded.tick()
    assert list(loaded.errors()) == ["feb.error.json", "jan.error.json"]
    run(loaded)
    assert list(loaded.errors()) == ["feb.error.json"]


def test_a_run_that_fails_leaves_what_is_told_of_it_and_no_answer(loaded, monkeypatch):
    loaded.put("jan.json", "{}")
    loaded.tick()
    monkeypatch.setattr("adhoc_reports.lib.chart.draw", lambda *_: 1 / 0)
    run(loaded, expect_success=False)
    assert answers(loaded) == ["jan.error.json", "jan.failed.json"]
    failure = Failure.model_validate_json((loaded.root.outputs / "jan.failed.json").read_bytes())
    assert failure.reason.startswith("Unexpected error.")
    assert failure.details == "ZeroDivisionError: division by zero"
    monkeypatch.undo()
    run(loaded)
    assert answers(loaded) == ["jan.csv", "jan.png", "jan.report.json"]


def test_what_went_wrong_is_told_in_plain_words_by_its_kind(loaded):
    (loaded_file,) = Lake(loaded.root).files(TRIPS)[:1]
    loaded_file.write_bytes(b"damaged")
    run(loaded, expect_success=False)
    failure = Failure.model_validate_json((loaded.root.outputs / "jan.failed.json").read_bytes())
    assert failure.reason.startswith("A file of the trips is damaged.")
    assert "trips.parquet" in failure.details
    for text, reason in (
        ("OutOfMemoryException: failed to allocate", "There was not enough memory"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("S3Error: s3://b/x: does not answer", "The storage did not answer"),
        ("BinderException: no column x", "The data lacks a column or table"),
        ("DagsterExecutionInterruptedError: ", "The run was cancelled"),
    ):
        assert in_plain_words(["DagsterExecutionError: x", text]).startswith(reason)


def test_answering_again_replaces_the_answer_by_the_same_bytes(loaded):
    answers = []
    for _ in range(2):
        run(loaded)
        answers.append(
            [(loaded.root.outputs / f"jan.{kind}").read_bytes() for kind in ("csv", "png")]
        )
    assert answers[0] == answers[1]


def test_a_second_run_in_the_midst_of_the_first_leaves_a_whole_answer(loaded, monkeypatch):
    whole = chart.to_png

    def run_another_meanwhile(figure: Figure) -> bytes:
        monkeypatch.setattr(chart, "to_png", whole)
        with dg.DagsterInstance.ephemeral() as instance:
            run(replace(loaded, instance=instance), borough="Queens")
        return whole(figure)

    monkeypatch.setattr(chart, "to_png", run_another_meanwhile)
    assert metadata(run(loaded))["num_trips"] == 3
    assert "\n8,1,0,1," in (loaded.root.outputs / "jan.csv").read_text()
    assert answers(loaded) == ["jan.csv", "jan.png", "jan.report.json"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"filename": "../jan.json"}, "use a name that does not begin with a dot"),
        ({"filename": "a/jan.json"}, "leave out slashes"),
        ({"filename": "/tmp/jan.json"}, "leave out slashes"),
        ({"filename": ".jan.json"}, "use a name that does not begin with a dot"),
        ({"filename": "manhattan_map.json"}, "choose another name"),
        ({"borough": "Atlantis"}, "expected one of Bronx, Brooklyn"),
        ({"start_date": "2023-02-01"}, "2023-02-01 is not before end_date 2023-01-25"),
    ],
)
def test_a_config_that_is_not_valid_fails_the_run_with_the_reason(loaded, changes, reason):
    assert reason in failure(run(loaded, expect_success=False, **changes))
    assert not loaded.root.outputs.exists()


def test_dates_outside_of_the_data_are_answered_with_zeros_and_a_warning(loaded):
    result = run(loaded, start_date="2031-01-01", end_date="2031-01-02")
    assert metadata(result)["num_trips"] == 0
    assert metadata(result)["remark"] == "Not loaded, so not counted: 2031-01."
    assert (loaded.root.outputs / "jan.csv").read_text().count("\n") == 25
    assert (loaded.root.outputs / "jan.png").exists()


def test_a_lake_without_any_trips_is_answered_with_zeros_and_a_warning(office, capsys):
    result = run(office)
    assert metadata(result)["num_trips"] == 0
    assert "zones are not loaded" in metadata(result)["remark"]
    assert "WARNING" in (told := capsys.readouterr().err)
    assert "Materialize taxi_trips and taxi_zones" in told


def test_the_launchpad_explains_every_field():
    fields = AdhocRequestConfig.to_config_schema().config_type.fields
    assert set(fields) == {"filename", "borough", "start_date", "end_date", "zone"}
    assert all(field.description for field in fields.values())


def test_the_asset_stands_downstream_of_the_other_teams_tables():
    assert adhoc_request.key == keys.ADHOC_REQUEST
    assert adhoc_request.asset_deps[adhoc_request.key] == {keys.TAXI_TRIPS, keys.TAXI_ZONES}
    assert adhoc_request.group_names_by_key[adhoc_request.key] == keys.REQUESTS
    assert adhoc_request.partitions_def is None


def test_the_definitions_load():
    dg.Definitions.validate_loadable(definitions.defs)
    repository = definitions.defs.get_repository_def()
    assert repository.get_job("adhoc_request_job").executor_def is dg.in_process_executor
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "adhoc_request_sensor",
        "available_data_sensor",
    }
