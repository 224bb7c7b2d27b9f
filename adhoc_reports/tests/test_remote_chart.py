"""Charts drawn outside the platform: real clients, and processes that draw or fail."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from adhoc_reports.defs import remote_chart
from adhoc_reports.defs.partitions import reports
from adhoc_reports.defs.remote_chart import CHART_HAS_ALL_PICKUPS, adhoc_chart
from adhoc_reports.lib.chart import draw, to_svg
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Report, Status
from adhoc_reports.lib.store import ReportStore
from taxi_shared import keys, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.ranges import LOCATION_TAG
from taxi_shared.storage import DataRoot
from taxi_testing.cancelled_runs import cancelled_when

from .aws_compute import EcsService, LambdaService, ecs_service, lambda_service
from .conftest import QUESTION, REPORT, january_outcome

HANDLER = "adhoc_reports.lib.chart_function.handler"
TASK = [sys.executable, "-m", "adhoc_reports.lib.chart_function"]
# Handlers of functions that differ from ours.
NAIVE = """
from dagster_pipes import PipesMappingParamsLoader, open_dagster_pipes

def handler(event, context):
    with open_dagster_pipes(params_loader=PipesMappingParamsLoader(event)) as pipes:
        pipes.report_custom_message({})
"""
SILENT = """
def handler(event, context):
    print("nothing to say")
"""
ONE_TOO_FEW = """
from adhoc_reports.lib import chart_function
from adhoc_reports.lib.kinds.hours import Hours

count, handler = Hours.count_drawn, chart_function.handler
Hours.count_drawn = lambda self, figure, report: count(self, figure, report) - 1
"""
SLOW = """
import time

from adhoc_reports.lib import chart_function

def handler(event, context):
    time.sleep(1.5)
    chart_function.draw_chart(event["outcome"], event["chart"])
"""


@dataclass
class Charts:
    """A data root on S3 that has the report `jan`, and runs of the asset over it."""

    root: DataRoot
    instance: dg.DagsterInstance

    @property
    def store(self) -> ReportStore:
        return ReportStore(self.root)

    def draw(self, name: str = "jan") -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("reports", [name])
        return dg.materialize(
            [adhoc_chart],
            instance=self.instance,
            resources={"database": LakeDatabase(data_root=str(self.root.base))},
            partition_key=name,
            raise_on_error=False,
        )

    def failure(self, name: str = "jan") -> str:
        """The error of a run that must fail; nothing is recorded, and nothing is left."""
        result = self.draw(name)
        assert not result.success
        assert not self.is_materialized
        assert self.files == ["outputs/jan.json"]
        (event,) = (each for each in result.all_events if each.is_step_failure)
        return str(event.step_failure_data.error)

    @property
    def is_materialized(self) -> bool:
        return self.instance.get_latest_materialization_event(adhoc_chart.key) is not None

    @property
    def files(self) -> list[str]:
        """All files of the data root, hidden ones too."""
        start = len(self.root.base.path) + 1
        return sorted(found[start:] for found in self.root.base.fs.find(self.root.base.path))


@pytest.fixture
def charts(s3_root: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Charts:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(remote_chart, "POLL_SECONDS", 0.2)
    charts = Charts(DataRoot.at(s3_root), instance)
    charts.store.write_outcome("jan", january_outcome())
    return charts


@pytest.fixture
def start_function(
    charts: Charts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], LambdaService]]:
    """Start the function of Lambda: ours, or the text of a module with `handler`."""
    pytest.importorskip("awslambdaric", reason="AWS's runtime client has wheels for Linux only")
    services = []

    def start(module: str = "") -> LambdaService:
        (tmp_path / "other.py").write_text(module)
        service = lambda_service("other.handler" if module else HANDLER, tmp_path)
        services.append(service)
        started = service.__enter__()
        monkeypatch.setenv("TAXI_CHART_LAMBDA", "taxi-chart")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", started.endpoint)
        return started

    yield start
    for service in services:
        service.__exit__(None, None, None)


@pytest.fixture
def ecs(charts: Charts, monkeypatch: pytest.MonkeyPatch) -> Iterator[EcsService]:
    """ECS with tasks that draw, end in silence, sleep, or find no room."""
    commands = {
        "taxi-chart:7": TASK,
        "silent": [sys.executable, "-c", ""],
        "endless": ["sleep", "600"],
        "large": [],
    }
    with ecs_service(commands) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", service.endpoint)
        monkeypatch.setenv("TAXI_CHART_ECS_TASK", "taxi-chart:7")
        monkeypatch.setenv("TAXI_CHART_ECS_OPTIONS", '{"cluster": "taxi", "launchType": "FARGATE"}')
        yield service


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    assert result.success
    (event,) = result.asset_materializations_for_node("adhoc_chart")
    return {name: value.value for name, value in event.metadata.items()}


def test_warm_function_draws_a_second_chart(
    charts: Charts, start_function: Callable[..., LambdaService]
) -> None:
    function = start_function()
    first, second = charts.draw(), charts.draw()
    assert [metadata(each)["warm"] for each in (first, second)] == [False, True]
    shown, svg = metadata(second), charts.store.svg_path("jan").read_bytes()
    assert svg == to_svg(draw(QUESTION, REPORT))
    assert shown["bytes"] == len(svg)
    assert shown["num_trips"] == REPORT.pickups.total == 168
    assert shown["request"] == function.invocations[1].id
    (check,) = second.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (CHART_HAS_ALL_PICKUPS, True)
    assert charts.files == ["outputs/jan.json", "outputs/jan.svg"]


def test_open_dagster_pipes_fails_in_a_warm_process(
    charts: Charts, start_function: Callable[..., LambdaService]
) -> None:
    """The defect that our handler avoids; once it is repaired, `open_dagster_pipes` will do."""
    start_function(NAIVE)
    assert "sent another message" in charts.failure()
    assert "Cannot send message after pipes context is closed" in charts.failure()


def test_error_of_the_function_is_the_error_of_the_run(
    charts: Charts, start_function: Callable[..., LambdaService]
) -> None:
    charts.store.write_outcome("jan", january_outcome(Status.REJECTED, report=None))
    start_function()
    assert "the request is rejected; expected one with a report" in charts.failure()


def test_function_that_sends_nothing_fails(
    charts: Charts,
    start_function: Callable[..., LambdaService],
    capfd: pytest.CaptureFixture[str],
) -> None:
    start_function(SILENT)
    assert "the function ended with 0 messages" in charts.failure()
    assert "nothing to say" in capfd.readouterr().out  # from the tail of its log


def test_chart_without_a_pickup_fails_the_check(
    charts: Charts, start_function: Callable[..., LambdaService]
) -> None:
    start_function(ONE_TOO_FEW)
    (check,) = charts.draw().get_asset_check_evaluations()
    assert not check.passed
    assert {name: value.value for name, value in check.metadata.items()} == {
        "drawn": 167,
        "in the report": 168,
    }


def test_chart_of_an_earlier_report_is_refused(
    charts: Charts, start_function: Callable[..., LambdaService], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_function()
    later = REPORT.model_copy(update={"generated": REPORT.generated + timedelta(minutes=1)})
    monkeypatch.setattr(
        ReportStore, "read_outcome", lambda store, name: january_outcome(report=later)
    )
    assert "generated again or deleted while its chart was drawn" in charts.failure()


def test_function_of_a_cancelled_run_changes_no_chart(
    charts: Charts, start_function: Callable[..., LambdaService]
) -> None:
    function = start_function(SLOW)
    with cancelled_when(
        lambda: bool(function.invocations) and function.invocations[0].begun.is_set()
    ):
        charts.draw()
    assert function.invocations[0].ended.wait(30)  # Lambda has no call to stop it
    assert not charts.is_materialized
    hidden, outcome = charts.files
    assert hidden.startswith("outputs/.jan.svg.")
    assert outcome == "outputs/jan.json"
    storage.sweep(charts.root, timedelta(days=-1))
    assert charts.files == ["outputs/jan.json"]


def test_task_of_ecs_draws_the_chart(charts: Charts, ecs: EcsService) -> None:
    name = "jan #1, 50% off"
    charts.store.write_outcome(name, january_outcome(filename=f"{name}.json"))
    shown = metadata(charts.draw(name))
    assert charts.store.svg_path(name).read_bytes() == to_svg(draw(QUESTION, REPORT))
    assert shown["num_trips"] == 168
    (task,) = ecs.tasks
    assert str(shown["AWS ECS Task URL"]).endswith(f"/clusters/taxi/tasks/{task.id}")
    assert (task.request["cluster"], task.request["launchType"]) == ("taxi", "FARGATE")
    assert charts.files == [
        *(f"outputs/{name}.{kind}" for kind in ("json", "svg")),
        "outputs/jan.json",
    ]


def test_failed_task_fails_with_its_reason(charts: Charts, ecs: EcsService) -> None:
    charts.store.write_outcome("jan", january_outcome(Status.REJECTED, report=None))
    assert "non-zero exit code" in charts.failure()
    (run,) = charts.instance.get_run_records()
    events = charts.instance.all_logs(run.dagster_run.run_id)
    errors = [
        str(each.dagster_event.engine_event_data.error)
        for each in events
        if each.dagster_event and each.dagster_event.is_engine_event
    ]
    assert any("the request is rejected; expected one with a report" in each for each in errors)


def test_task_that_sends_nothing_fails(
    charts: Charts, ecs: EcsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_CHART_ECS_TASK", "silent")
    assert "the function ended with 0 messages" in charts.failure()


def test_task_without_room_fails_with_the_reason(
    charts: Charts, ecs: EcsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_CHART_ECS_TASK", "large")
    assert "ECS has not started large: RESOURCE:MEMORY" in charts.failure()


def test_cancelled_run_stops_its_task(
    charts: Charts, ecs: EcsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_CHART_ECS_TASK", "endless")
    with cancelled_when(lambda: bool(ecs.tasks)):
        charts.draw()
    assert [task.stopped for task in ecs.tasks] == [True]
    assert not charts.is_materialized
    assert charts.files == ["outputs/jan.json"]


def test_task_is_stopped_where_its_state_is_unknown(
    charts: Charts, ecs: EcsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_CHART_ECS_TASK", "endless")
    ecs.failing |= {"DescribeTasks", "ListTasks"}
    assert "not allowed: DescribeTasks" in charts.failure()
    assert [task.stopped for task in ecs.tasks] == [True]


def test_name_that_no_report_can_have_is_refused(charts: Charts) -> None:
    assert "cannot be the name of a request" in charts.failure("../jan")


@pytest.mark.parametrize(
    ("weekdays", "drawn"),
    [((2,) * 7, 168), ((3, 0, 0, 1, 0, 0, 7), 72), ((0, 0, 5, 0, 0, 0, 0), 24), ((0,) * 7, 0)],
)
def test_every_drawn_cell_or_bar_is_counted(weekdays: tuple[int, ...], drawn: int) -> None:
    by_hour = tuple(tuple(int(days > 0) for days in weekdays) for _ in range(24))
    report = Report.model_validate({**dict(REPORT), "by_hour": by_hour, "weekdays": weekdays})
    assert report.pickups.total == drawn
    assert KINDS["hours"].count_drawn(draw(QUESTION, report), report) == drawn


def test_same_report_gives_the_same_svg() -> None:
    first, second = (to_svg(draw(QUESTION, REPORT)) for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml")


def test_new_report_requests_its_chart(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=keys.ADHOC_REQUEST, partitions_def=reports)
    def request() -> None: ...

    resources = {"database": LakeDatabase(data_root="data")}
    definitions, cursor = dg.Definitions([request, adhoc_chart], resources=resources), None
    instance.add_dynamic_partitions("reports", ["jan", "feb"])
    requested = []
    for name in (None, "jan", None, "feb", "jan", "without a run"):
        if name in ("jan", "feb"):
            tags = {LOCATION_TAG: "adhoc_reports"}
            dg.materialize([request], partition_key=name, instance=instance, tags=tags)
        elif name:
            event = dg.AssetMaterialization(keys.ADHOC_REQUEST, partition="jan")
            instance.report_runless_asset_event(event)
        found = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        cursor = found.cursor
        partitions = found.get_requested_partitions(adhoc_chart.key)
        requested.append(sorted(map(str, partitions)))
        for each in partitions:
            event = dg.AssetMaterialization(adhoc_chart.key, partition=each)
            instance.report_runless_asset_event(event)
    assert requested == [[], ["jan"], [], ["feb"], ["jan"], []]


def test_deleted_report_takes_its_svg_along(tmp_path: Path) -> None:
    store = ReportStore(DataRoot.at(str(tmp_path)))
    store.write_outcome("jan", january_outcome())
    storage.write_text(store.svg_path("jan"), "<svg/>")
    store.remove_outputs("jan")
    assert list(store.root.outputs.iterdir()) == []


def loaded_by(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A new process that has nothing imported."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_asset_exists_only_where_a_setting_says_so() -> None:
    code = (
        "from adhoc_reports.definitions import defs; found = set(sys.modules);"
        "keys = [each.key.path[-1] for each in defs.resolve_all_asset_specs()];"
        "print('adhoc_chart' in keys, 'adhoc_reports.defs.remote_chart' in found,"
        "bool(found & {'boto3', 'dagster_aws', 'matplotlib'}))"
    )
    assert loaded_by(code).stdout.split() == ["False", "False", "False"]
    chosen = {"TAXI_CHART_LAMBDA": "taxi-chart", "TAXI_DATA_ROOT": "s3://taxi/data"}
    done = loaded_by(code, **chosen)
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TAXI_CHART_LAMBDA": "a", "TAXI_DATA_ROOT": "data"}, "expected s3://bucket/prefix"),
        ({"TAXI_CHART_LAMBDA": "a", "TAXI_CHART_ECS_TASK": "b"}, "expected one of them"),
        (
            {
                "TAXI_CHART_ECS_TASK": "b",
                "TAXI_DATA_ROOT": "s3://taxi/data",
                "TAXI_CHART_ECS_OPTIONS": "[1]",
            },
            r"TAXI_CHART_ECS_OPTIONS is '\[1\]'; expected a JSON object",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=expected):
        remote_chart.check_settings()


def test_function_imports_neither_dagster_nor_duckdb() -> None:
    code = (
        f"import {HANDLER.removesuffix('.handler')};"
        "print(sorted({'dagster', 'duckdb', 'fastapi'} & set(sys.modules)))"
    )
    assert loaded_by(code).stdout == "[]\n"
