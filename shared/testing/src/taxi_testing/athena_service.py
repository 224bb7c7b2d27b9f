"""Amazon Athena's API on this machine: DuckDB runs its queries over the lake."""

import csv
import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from taxi_shared import storage
from taxi_shared.database import LakeDatabase
from taxi_testing.web_service import WebService, serving

# Rows of a page, so that small results have several.
ROWS_PER_PAGE = 3


@dataclass
class Query:
    """A query and what became of it."""

    request: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "RUNNING"
    reason: str = ""
    columns: list[dict[str, str]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    interrupt: Callable[[], None] = lambda: None

    @property
    def address(self) -> str:
        """Where its result is."""
        output = self.request["ResultConfiguration"]["OutputLocation"]
        return f"{output.rstrip('/')}/{self.id}.csv"


@dataclass
class AthenaService:
    """The four calls of Athena that run a query, for the tables of a lake.

    Values of parameters are evaluated as SQL, and results lie where the request says: as in Athena.
    """

    database: LakeDatabase
    endpoint: str = ""
    queries: dict[str, Query] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def call(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a call. Raises KeyError for an unknown one."""
        self.calls.append(action)
        if action == "StartQueryExecution":
            query = Query(request)
            self.queries[query.id] = query
            threading.Thread(target=self._run, args=(query,)).start()
            return {"QueryExecutionId": query.id}
        query = self.queries[request["QueryExecutionId"]]
        if action == "GetQueryExecution":
            return {"QueryExecution": _execution(query)}
        if action == "StopQueryExecution":
            while query.state == "RUNNING":  # an interrupt before the query begins is lost
                query.interrupt()
                time.sleep(0.02)
            return {}
        if action == "GetQueryResults":
            return _page(query, int(request.get("NextToken", 0)))
        raise KeyError(action)

    def _run(self, query: Query) -> None:
        values = ", ".join(query.request.get("ExecutionParameters", ()))
        try:
            with self.database.get_connection() as con:
                query.interrupt = con.interrupt
                con.execute(f"PREPARE asked AS {query.request['QueryString']}")
                found = con.execute(f"EXECUTE asked({values})" if values else "EXECUTE asked")
                query.columns = [
                    {"Name": name, "Type": _type(str(kind))}
                    for name, kind, *_ in found.description or ()
                ]
                query.rows = [
                    [None if value is None else str(value) for value in row]
                    for row in found.fetchall()
                ]
            self._write(query)
            query.state = "SUCCEEDED"
        except duckdb.InterruptException:
            self._write(query)  # as Athena may, of a query that it cancels
            query.state = "CANCELLED"
        except duckdb.Error as error:
            query.reason, query.state = f"SYNTAX_ERROR: {error}", "FAILED"
        finally:
            query.interrupt = lambda: None

    def _write(self, query: Query) -> None:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(_lines(query))
        storage.write_text(storage.path_at(query.address), text.getvalue())
        storage.write_text(storage.path_at(f"{query.address}.metadata"), "columns")


def _execution(query: Query) -> dict[str, Any]:
    status = {"State": query.state}
    if query.reason:
        status["StateChangeReason"] = query.reason
    return {
        "QueryExecutionId": query.id,
        "Query": query.request["QueryString"],
        "Status": status,
        "ResultConfiguration": {"OutputLocation": query.address},
        "Statistics": {"DataScannedInBytes": 1234},
        "EngineVersion": {"EffectiveEngineVersion": "Athena engine version 3"},
    }


def _page(query: Query, first: int) -> dict[str, Any]:
    """A page of the result; the first one begins with the names of the columns."""
    lines = _lines(query)
    page: dict[str, Any] = {
        "ResultSet": {
            "Rows": [
                {"Data": [{} if value is None else {"VarCharValue": value} for value in line]}
                for line in lines[first : first + ROWS_PER_PAGE]
            ],
            "ResultSetMetadata": {"ColumnInfo": query.columns},
        }
    }
    if first + ROWS_PER_PAGE < len(lines):
        page["NextToken"] = str(first + ROWS_PER_PAGE)
    return page


def _lines(query: Query) -> list[list[str | None]]:
    names: list[str | None] = [column["Name"] for column in query.columns]
    return [names, *query.rows]


def _type(kind: str) -> str:
    """Athena's name of a type of DuckDB."""
    return "bigint" if kind == "HUGEINT" else kind.partition("(")[0].lower()


@contextmanager
def athena_service(database: LakeDatabase) -> Iterator[AthenaService]:
    """Start the service on a free port of 127.0.0.1, for the lake of a database."""
    service = AthenaService(database)

    class Api(WebService):
        def respond(self) -> None:
            action = self.headers["X-Amz-Target"].removeprefix("AmazonAthena.")
            found = service.call(action, json.loads(self.body()))
            self.answer_json(200, found, "application/x-amz-json-1.1")

    with serving(Api) as address:
        service.endpoint = f"http://{address}"
        try:
            yield service
        finally:
            for query in service.queries:
                service.call("StopQueryExecution", {"QueryExecutionId": query})
