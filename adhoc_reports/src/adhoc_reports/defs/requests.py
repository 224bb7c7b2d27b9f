"""The answer to a request: a chart and its numbers."""

import base64
import time
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from adhoc_reports.defs.available_data import TRIPS
from adhoc_reports.defs.partitions import reports
from adhoc_reports.lib import canvas, chart, measures, pickups, report, shapes
from adhoc_reports.lib.export import to_csv, to_markdown
from adhoc_reports.lib.generation import Generation
from adhoc_reports.lib.kinds import KINDS, compare, flows, hours, kind, trend, zone_map
from adhoc_reports.lib.outcome import Report
from adhoc_reports.lib.report import check_zone, generate_report
from adhoc_reports.lib.request import SUFFIX, InvalidRequest, Question, join_messages, problems
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.lib.store import ReportStore
from taxi_shared import keys, provenance
from taxi_shared.as_of import AsOfConfig
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine
from taxi_shared.engines.choice import kind_of
from taxi_shared.tables import ZONES
from taxi_shared.versions import code_version, source_of


def _description(field: str) -> str:
    return f"{Question.model_fields[field].description} Empty: the request file's."


class AdhocRequestConfig(AsOfConfig):
    """A request by hand, in the launchpad; left empty, the file of the partition is answered."""

    filename: str = Field(
        default="", description="Name of the request's file: the partition's name and .json."
    )
    borough: str = Field(default="", description=_description("borough"))
    start_date: str = Field(default="", description=_description("start_date"))
    end_date: str = Field(default="", description=_description("end_date"))
    zone: str = Field(default="", description=_description("zone"))
    kind: str = Field(default="", description=_description("kind"))
    measure: str = Field(default="", description=_description("measure"))
    service: str = Field(default="", description=_description("service"))
    side: str = Field(default="", description=_description("side"))
    interval: str = Field(default="", description=_description("interval"))
    other_borough: str = Field(default="", description=_description("other_borough"))
    other_zone: str = Field(default="", description=_description("other_zone"))
    other_start_date: str = Field(default="", description=_description("other_start_date"))
    other_end_date: str = Field(default="", description=_description("other_end_date"))

    def question(self) -> Question | None:
        """What is asked; None where no field says so. Raises InvalidRequest."""
        values = {field: getattr(self, field) for field in Question.model_fields}
        given = {field: value for field, value in values.items() if value}
        try:
            return Question.model_validate(given) if given else None
        except ValidationError as error:
            found = problems(error.errors(include_url=False))
            raise InvalidRequest(f"config: {join_messages(map(str, found))}") from None


@dg.asset(
    key=keys.ADHOC_REQUEST,
    partitions_def=reports,
    deps=[
        dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping())
        for key in (*TRIPS, keys.TAXI_ZONES)
    ],
    code_version=code_version(
        source_of(__file__, "adhoc_request"),
        canvas,
        chart,
        measures,
        shapes,
        compare,
        flows,
        hours,
        kind,
        trend,
        zone_map,
        kind.QUERY,
        pickups,
        pickups.QUERY,
        report,
        report.QUERY,
    ),
    group_name=keys.REQUESTS,
    kinds={kind_of("adhoc_request"), "matplotlib"},
)
def adhoc_request(
    context: dg.AssetExecutionContext,
    config: AdhocRequestConfig,
    database: LakeDatabase,
    adhoc_request_engine: dg.ResourceParam[Engine],
) -> dg.MaterializeResult[None]:
    """The report that a request asks for: trips of an area and period, as one of several kinds.

    The chart is `outputs/<name>.png`, the numbers are `outputs/<name>.csv`, and both, with the data
    that they are computed from, are in the outcome `outputs/<name>.json`.
    """
    begin = time.perf_counter()
    generation = _generation(context, config, ReportStore(database.lake.root))
    question = generation.question
    with generation.recorded():
        service = SERVICES[question.service]
        lake = config.snapshot(database.lake, service.trips)
        tables = [service.days, ZONES]
        with database.get_connection(question.span, tables, snapshot=lake) as con:
            check_zone(con, question)
            queries = KINDS[question.kind].ask(lake, question)
            answers = [adhoc_request_engine.ask(context, query) for query in queries]
            report = generate_report(con, lake, question, [answer.rows for answer in answers])
        png = chart.to_png(chart.draw(question, report))
        generation.finish(report, png)
    if report.remark and config.trips_version is None:
        context.log.warning(f"{report.remark} Load taxi_trips and taxi_zones, then try again.")
    seconds = round(time.perf_counter() - begin, 3)
    return dg.MaterializeResult(
        metadata={**_metadata(generation, report, png), **answers[0].details, "seconds": seconds}
    )


def _generation(
    context: dg.AssetExecutionContext, config: AdhocRequestConfig, store: ReportStore
) -> Generation:
    """The request of the run's partition. Raises dg.Failure where there is none."""
    try:
        if not context.has_partition_key:
            raise InvalidRequest(
                "Choose a partition: the report's name, such as jan (add it in the dialog)"
            )
        name = context.partition_key
        if config.filename not in ("", f"{name}{SUFFIX}"):
            raise InvalidRequest(
                f"config: filename is {config.filename!r}; expected {name}{SUFFIX}, after the "
                "partition, or nothing"
            )
        return Generation.of(store, name, config.question(), context.run.run_id)
    except InvalidRequest as invalid:
        raise dg.Failure(str(invalid), allow_retries=False) from None


def _metadata(generation: Generation, report: Report, png: bytes) -> dict[str, Any]:
    store, question = generation.store, generation.question
    csv = to_csv(question, report)
    preview = base64.b64encode(png).decode()
    return {
        "chart": dg.MetadataValue.md(f"![Chart](data:image/png;base64,{preview})"),
        "numbers": dg.MetadataValue.md(to_markdown(question, report)),
        "chart file": dg.MetadataValue.path(str(store.chart_path(generation.name))),
        "numbers file": dg.MetadataValue.path(str(store.numbers_path(generation.name))),
        "num_trips": report.trips,
        "dagster/row_count": csv.count("\n") - 1,
        "bytes": len(png) + len(csv),
        "remark": report.remark or "None.",
        "source": provenance.source_line(report.publishers),
    }
