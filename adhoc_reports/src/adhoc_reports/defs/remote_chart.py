"""The chart of a report as SVG, drawn outside the platform: by AWS Lambda, or as an ECS task.

`TAXI_CHART_LAMBDA` or `TAXI_CHART_ECS_TASK` says which. The asset launches the function by Dagster
Pipes, and compares what that has drawn with the report.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import ValidationError

from adhoc_reports.defs.partitions import reports
from adhoc_reports.lib import chart, chart_function
from adhoc_reports.lib.chart_function import DrawnChart
from adhoc_reports.lib.outcome import Report
from adhoc_reports.lib.request import SUFFIX, InvalidRequest, check_name
from adhoc_reports.lib.store import ReportStore
from taxi_shared import aws, keys, settings, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import cancelled_on_error
from taxi_shared.engines.pipes_store import JobFolder
from taxi_shared.ranges import LOCATION_TAG
from taxi_shared.versions import code_version, source_of

CHART_HAS_ALL_PICKUPS = "chart_has_all_pickups"
# Lambda's longest timeout.
LAMBDA_SECONDS = 900
# Between two requests for a task's state.
POLL_SECONDS = 2
NEVER = 1_000_000
"""Polls after which to give up on a task: ECS has no timeout, the run of Dagster has one."""


def check_settings() -> None:
    """Raises ValueError for settings by which no chart can be drawn."""
    found = settings.load()
    if found.chart_lambda and found.chart_ecs_task:
        raise ValueError(
            "TAXI_CHART_LAMBDA and TAXI_CHART_ECS_TASK are both set; expected one of them"
        )
    if not found.data_root.startswith("s3://"):
        name = "TAXI_CHART_LAMBDA" if found.chart_lambda else "TAXI_CHART_ECS_TASK"
        raise ValueError(
            f"{name} is set, and TAXI_DATA_ROOT is {found.data_root!r}, which a function outside "
            f"cannot read; expected s3://bucket/prefix. Unset {name}, or move the data root to S3"
        )
    _ecs_options()


@dg.asset(
    partitions_def=reports,
    deps=[keys.ADHOC_REQUEST],
    # A changed request gives a new report, yet no new data version. A materialization without a run
    # is of an old report, see `RunRetention`.
    automation_condition=dg.AutomationCondition.eager().replace(
        "newly_updated",
        dg.AutomationCondition.newly_updated()
        & dg.AutomationCondition.executed_with_tags(tag_keys={LOCATION_TAG}),
    ),
    check_specs=[
        dg.AssetCheckSpec(
            CHART_HAS_ALL_PICKUPS,
            asset="adhoc_chart",
            description="The marks that the function has drawn stand for as many trips as the "
            "report has.",
        )
    ],
    code_version=code_version(source_of(__file__, "adhoc_chart"), chart, chart_function),
    group_name=keys.REQUESTS,
    kinds={"aws", "matplotlib"},
)
def adhoc_chart(
    context: dg.AssetExecutionContext, database: LakeDatabase
) -> Iterator[dg.MaterializeResult[None]]:
    """The chart of a report as SVG, `outputs/<name>.svg`, drawn outside the platform."""
    begin = time.perf_counter()
    store, name = ReportStore(database.lake.root), _report_name(context)
    path = store.svg_path(name)
    # What a function writes whose run has ended meanwhile stays hidden, and is swept.
    with storage.atomic_path(path) as hidden:
        addresses = {"outcome": str(store.outcome_path(name)), "chart": hidden}
        done = _launch(context, store, addresses)
        drawn = _drawn_chart(name, done.get_custom_messages())
        report = _drawn_report(store, name, drawn)
    yield dg.MaterializeResult(
        metadata={
            **done.metadata,
            "chart file": dg.MetadataValue.path(str(path)),
            "num_trips": drawn.pickups,
            "bytes": drawn.bytes,
            "seconds": round(time.perf_counter() - begin, 3),
            "seconds of the function": drawn.seconds,
            "warm": drawn.warm,
            **({"request": drawn.request_id} if drawn.request_id else {}),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=drawn.pickups == report.trips,
                check_name=CHART_HAS_ALL_PICKUPS,
                metadata={"drawn": drawn.pickups, "in the report": report.trips},
            )
        ],
    )


def _report_name(context: dg.AssetExecutionContext) -> str:
    """The name of the run's report. Raises dg.Failure where it cannot be one."""
    try:
        name = str(context.partition_key)
        check_name(f"{name}{SUFFIX}")
    except InvalidRequest as invalid:
        raise dg.Failure(str(invalid), allow_retries=False) from None
    return name


def _drawn_chart(name: str, messages: Sequence[Any]) -> DrawnChart:
    """The message of the function. Raises dg.Failure unless it sent this one."""
    if len(messages) != 1:
        raise dg.Failure(
            f"{name}: the function ended with {len(messages)} messages; expected one, on the chart "
            "that it has drawn. Its output is among the logs of this run"
        )
    try:
        return DrawnChart.model_validate(messages[0])
    except ValidationError as error:
        raise dg.Failure(
            f"{name}: the function sent another message than this release expects; deploy its "
            f"image of this release. {error}"
        ) from None


def _drawn_report(store: ReportStore, name: str, drawn: DrawnChart) -> Report:
    """The report that was drawn. Raises dg.Failure where it is another one by now."""
    outcome = store.read_outcome(name)
    if not outcome or not outcome.report or outcome.report.generated != drawn.generated:
        raise dg.Failure(
            f"{name}: the report was generated again or deleted while its chart was drawn; "
            "automation draws the chart of a new report"
        )
    return outcome.report


def _launch(
    context: dg.AssetExecutionContext, store: ReportStore, addresses: Mapping[str, str]
) -> dg.PipesClientCompletedInvocation:
    """Run the function to its end. Raises an error where it fails."""
    if function := settings.load().chart_lambda:
        return _invoke_function(context, function, addresses)
    return _run_task(context, _TaskFolder(context, store.root), addresses)


def _invoke_function(
    context: dg.AssetExecutionContext, function: str, addresses: Mapping[str, str]
) -> dg.PipesClientCompletedInvocation:
    """Call a function of Lambda. The call of a cancelled run ends there by its own timeout."""
    from botocore.config import Config
    from dagster_aws.pipes import PipesLambdaClient

    # The request is open until the function ends. After a minute without an answer, botocore would
    # send a second one, and a NAT gateway drops a connection that is idle for six.
    config = Config(
        read_timeout=LAMBDA_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
    )
    client = PipesLambdaClient(aws.client_of("lambda", config))
    return client.run(context=context, function_name=function, event=addresses)


class _TaskFolder(JobFolder):
    """The folder of a task, whose messages are read when it has ended."""

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[Mapping[str, Any]]:
        """Say where the task writes messages, and read them at the end."""
        with super().read_messages(handler) as params:
            try:
                yield params
            finally:
                self.read()


def _run_task(
    context: dg.AssetExecutionContext, folder: JobFolder, addresses: Mapping[str, str]
) -> dg.PipesClientCompletedInvocation:
    """Run a task of ECS; it is stopped on any error, and where the run is cancelled."""
    from dagster_aws.pipes import PipesECSClient

    client, tasks = aws.client_of("ecs"), set[str]()

    def record_tasks(parsed: Mapping[str, Any], **_: object) -> None:
        tasks.update(task["taskArn"] for task in parsed.get("tasks", ()))
        if failures := parsed.get("failures"):
            reasons = ", ".join(str(each.get("reason")) for each in failures)
            raise dg.Failure(f"ECS has not started {settings.load().chart_ecs_task}: {reasons}")

    client.meta.events.register("after-call.ecs.RunTask", record_tasks)
    run_task = {
        **_ecs_options(),
        "taskDefinition": settings.load().chart_ecs_task,
        "startedBy": context.run.run_id,
    }
    with cancelled_on_error(context, lambda: _stop_tasks(client, context.run.run_id, tasks)):
        return PipesECSClient(client, context_injector=folder, message_reader=folder).run(
            context=context,
            run_task_params=run_task,
            extras=dict(addresses),
            waiter_config={"Delay": POLL_SECONDS, "MaxAttempts": NEVER},
        )


def _stop_tasks(client: Any, run_id: str, tasks: Set[str]) -> None:
    """Stop the tasks of a run, also one that was started as the run was cancelled.

    tasks: that are known. `PipesECSClient` stops them only if the run is cancelled while it waits.
    """
    cluster = _ecs_options().get("cluster", "default")

    def stop(found: Iterable[str]) -> None:
        for task in found:
            client.stop_task(cluster=cluster, task=task, reason=f"run {run_id} has ended")

    stop(tasks)
    stop({*client.list_tasks(cluster=cluster, startedBy=run_id)["taskArns"]} - tasks)


def _ecs_options() -> dict[str, Any]:
    """The further arguments of RunTask, new each time: the client changes them."""
    text = settings.load().chart_ecs_options
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ValueError(
            f"TAXI_CHART_ECS_OPTIONS is {text!r}; expected a JSON object with arguments of "
            'RunTask, as in {"cluster": "taxi", "launchType": "FARGATE"}'
        )
    return options
