"""Amazon Athena: SQL over the lake's tables in AWS Glue, by the SDK boto3."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import chain, islice
from typing import Any

import dagster as dg
from pydantic import Field

from taxi_shared import aws, storage
from taxi_shared.engines import (
    MAX_ROWS,
    Answer,
    NoAnswer,
    Parameter,
    Question,
    Row,
    cancelled_on_error,
)
from taxi_shared.engines.catalog import CatalogEngine
from taxi_shared.engines.external_tables import quote

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
STOP_SECONDS = 30.0
FLOATS = {"real", "float", "double"}


class Athena(CatalogEngine):
    """Answers with Athena's engine version 3, which reads logs of Delta Lake.

    It needs tables in AWS Glue, see `external_tables`, and the package boto3.
    """

    stores = frozenset({"s3"})
    workgroup: str = Field(default="primary", description="workgroup that queries run in")
    glue_database: str = Field(default="taxi", description="database of the tables in AWS Glue")
    output: str = Field(
        default="",
        description="s3:// prefix of results, which are removed after they are read; by default "
        "that of the workgroup",
    )

    def query(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Run the query. Raises NoAnswer with Athena's reason, and botocore's errors."""
        client = aws.client_of("athena")
        query = client.start_query_execution(**self._request(question))["QueryExecutionId"]
        link = aws.console(client, "athena", f"/query-editor/history/{query}")
        try:
            with cancelled_on_error(context, lambda: _stop(client, query)):
                context.log.info(f"{question.name}: Athena has the query {query}: {link}")
                execution = _wait(client, query)
            columns, values = _results(client, question.name, execution)
        finally:
            _remove_results(context, client, query)
        version = execution.get("EngineVersion", {}).get("EffectiveEngineVersion", "Athena")
        scanned = execution.get("Statistics", {}).get("DataScannedInBytes", 0)
        return Answer(
            question.rows(columns, values),
            {
                "engine": version,
                "query": dg.MetadataValue.url(link),
                "bytes scanned": dg.MetadataValue.int(scanned),
            },
        )

    def _request(self, question: Question[Row]) -> dict[str, Any]:
        sql, values = question.rewrite(lambda _: "?")
        request: dict[str, Any] = {
            "QueryString": sql,
            "QueryExecutionContext": {"Database": self.glue_database},
            "WorkGroup": self.workgroup,
        }
        if values:
            request["ExecutionParameters"] = [to_literal(value) for value in values]
        if self.output:
            request["ResultConfiguration"] = {"OutputLocation": self.output}
        return request


def to_literal(value: Parameter) -> str:
    """A value as Athena takes it for `?`: a literal of SQL, with its quotes."""
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return quote(value)


def _stop(client: Any, query: str) -> None:
    """Stop a query. It may still write a result, which is to be removed, so wait for its end."""
    client.stop_query_execution(QueryExecutionId=query)
    _wait(client, query, STOP_SECONDS)


def _wait(client: Any, query: str, longest: float = math.inf) -> dict[str, Any]:
    """Return the execution of a query once it has ended, or after some seconds."""
    wait, deadline = FIRST_WAIT_SECONDS, time.monotonic() + longest
    while True:
        execution: dict[str, Any] = client.get_query_execution(QueryExecutionId=query)[
            "QueryExecution"
        ]
        ended = execution["Status"]["State"] not in ("QUEUED", "RUNNING")
        if ended or time.monotonic() > deadline:
            return execution
        time.sleep(wait)
        wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)


def _results(
    client: Any, name: str, execution: Mapping[str, Any]
) -> tuple[list[str], list[list[str | None]]]:
    """The columns of a query's result and its rows as text, at most one more than MAX_ROWS."""
    query, status = execution["QueryExecutionId"], execution["Status"]
    if status["State"] != "SUCCEEDED":
        reason = status.get("StateChangeReason", "Athena gives no reason")
        raise NoAnswer(f"{name}: query {query} of Athena is {status['State']}: {reason}")
    pages = iter(client.get_paginator("get_query_results").paginate(QueryExecutionId=query))
    first = next(pages)
    described = first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    if floats := [column["Name"] for column in described if column["Type"] in FLOATS]:
        raise NoAnswer(f"{name}: {', '.join(floats)}: floating-point numbers; cast to DECIMAL")
    columns = [column["Name"] for column in described]
    rows = list(islice(_texts(chain([first], pages)), MAX_ROWS + 2))
    return columns, rows[1:] if rows[:1] == [columns] else rows  # the first one is a header


def _texts(pages: Iterable[Mapping[str, Any]]) -> Iterator[list[str | None]]:
    """Rows as text; NULL is None."""
    for page in pages:
        for row in page["ResultSet"]["Rows"]:
            yield [value.get("VarCharValue") for value in row["Data"]]


def _remove_results(context: dg.AssetExecutionContext, client: Any, query: str) -> None:
    """Remove the objects that Athena has written for a query, where its workgroup says."""
    try:
        execution = client.get_query_execution(QueryExecutionId=query)["QueryExecution"]
        if address := execution.get("ResultConfiguration", {}).get("OutputLocation"):
            for each in (address, f"{address}.metadata"):
                storage.remove(storage.path_at(each, "TAXI_ATHENA_OUTPUT"))
    except Exception as error:  # an answer, or the error that ended the query, matters more
        context.log.warning(f"The result of Athena's query {query} was not removed: {error}")
