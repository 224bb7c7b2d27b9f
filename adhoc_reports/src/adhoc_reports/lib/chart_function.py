"""A function outside the platform that draws the chart of a report: on AWS Lambda, or as ECS task.

The asset `adhoc_chart` launches it by Dagster Pipes. It reads the outcome of a request on S3, and
writes the chart as SVG there. It runs in the image of this location, see deploy/lambda, and imports
neither Dagster nor DuckDB.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from typing import Any

from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesMappingParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)
from pydantic import BaseModel, ConfigDict

from adhoc_reports.lib.chart import draw, to_svg
from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.outcome import Outcome

_charts = count()  # of this process: a warm one has drawn a chart before


class DrawnChart(BaseModel):
    """The message that says what was drawn.

    generated:  when the report was generated, as its outcome says
    pickups:    the trips that the marks of the chart stand for
    bytes:      size of the SVG
    seconds:    that the function took, without the start of its process
    warm:       whether the process had drawn a chart before
    request_id: of the call, by Lambda
    """

    model_config = ConfigDict(frozen=True)

    generated: datetime
    pickups: int
    bytes: int
    seconds: float
    warm: bool
    request_id: str = ""


def handler(event: Mapping[str, Any], context: Any) -> None:
    """Draw a chart on AWS Lambda.

    event: the addresses of `draw_chart`, and the variables of Dagster Pipes
    """
    # In a warm process `open_dagster_pipes` returns the context of the first call, which is closed
    # (dagster-io/dagster#22094).
    pipes = PipesContext(
        PipesMappingParamsLoader(event), PipesDefaultContextLoader(), PipesDefaultMessageWriter()
    )
    with pipes:
        drawn = draw_chart(event["outcome"], event["chart"])
        drawn = drawn.model_copy(update={"request_id": context.aws_request_id})
        pipes.report_custom_message(drawn.model_dump(mode="json"))


def main() -> None:
    """Draw a chart as a task of ECS; the addresses come by Dagster Pipes."""
    pipes = open_dagster_pipes(
        context_loader=PipesS3ContextLoader(_s3()), message_writer=PipesS3MessageWriter(_s3())
    )
    with pipes:
        drawn = draw_chart(pipes.get_extra("outcome"), pipes.get_extra("chart"))
        pipes.report_custom_message(drawn.model_dump(mode="json"))


def draw_chart(outcome: str, chart: str) -> DrawnChart:
    """Draw the report of an outcome, and write the SVG.

    outcome, chart: addresses of the two objects, as in s3://bucket/key

    Raises ValueError for an outcome without a report, and botocore's errors.
    """
    begin, client = time.perf_counter(), _s3()
    content = client.get_object(**_bucket_and_key(outcome))["Body"].read()
    found = Outcome.model_validate_json(content)
    if found.request is None or found.report is None:
        raise ValueError(f"{outcome}: the request is {found.status}; expected one with a report")
    figure = draw(found.request, found.report)
    svg = to_svg(figure)
    client.put_object(**_bucket_and_key(chart), Body=svg, ContentType="image/svg+xml")
    return DrawnChart(
        generated=found.report.generated,
        pickups=KINDS[found.request.kind].count_drawn(figure, found.report),
        bytes=len(svg),
        seconds=round(time.perf_counter() - begin, 3),
        warm=next(_charts) > 0,
    )


def _bucket_and_key(address: str) -> dict[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not key:
        raise ValueError(f"{address}: expected an address on S3, as in s3://bucket/key")
    return {"Bucket": bucket, "Key": key}


def _s3() -> Any:
    import boto3

    return boto3.client("s3")


if __name__ == "__main__":
    main()
