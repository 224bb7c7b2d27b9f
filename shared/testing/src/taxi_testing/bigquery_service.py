"""BigQuery's API on this machine: DuckDB runs its queries over the lake."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from taxi_shared.database import LakeDatabase
from taxi_testing.web_service import WebService, serving

_TYPES = {"DECIMAL": "NUMERIC", "VARCHAR": "STRING", "DOUBLE": "FLOAT", "DATE": "DATE"}


@dataclass
class Job:
    """A query and what became of it."""

    resource: dict[str, Any]
    state: str = "RUNNING"
    error: str = ""
    cancelled: bool = False
    fields: list[dict[str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupt: Callable[[], None] = lambda: None

    @property
    def query(self) -> dict[str, Any]:
        """The query and its options, as they were sent."""
        found: dict[str, Any] = self.resource["configuration"]["query"]
        return found


@dataclass
class BigQueryService:
    """The calls of BigQuery that run a query, for the tables of a lake."""

    database: LakeDatabase
    address: str = ""
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a call. Raises KeyError for an unknown job."""
        kind, _, job_id = path.partition("/projects/taxis/")[2].partition("/")
        self.calls.append(f"{method} {kind}")
        if method == "POST" and not job_id:
            job = self.jobs[body["jobReference"]["jobId"]] = Job(body)
            threading.Thread(target=self._run, args=(job,)).start()
            return _resource(job)
        job = self.jobs[job_id.removesuffix("/cancel")]
        if job_id.endswith("/cancel"):
            job.cancelled = True
            while job.state == "RUNNING":  # an interrupt before the query begins is lost
                job.interrupt()
                time.sleep(0.02)
            return {"kind": "bigquery#jobCancelResponse", "job": _resource(job)}
        return _resource(job) if kind == "jobs" else _results(job)

    def _run(self, job: Job) -> None:
        sql = re.sub(r"@`(\w+)`", r"$\1", job.query["query"])
        values = {
            each["name"]: _value(each["parameterType"]["type"], each["parameterValue"]["value"])
            for each in job.query.get("queryParameters", ())
        }
        try:
            with self.database.get_connection() as con:
                job.interrupt = con.interrupt
                found = con.execute(sql, values)
                job.fields = [
                    {"name": name, "type": _type(str(kind)), "mode": "NULLABLE"}
                    for name, kind, *_ in found.description or ()
                ]
                job.rows = [
                    {"f": [{"v": None if value is None else str(value)} for value in row]}
                    for row in found.fetchall()
                ]
        except duckdb.Error as error:
            job.error = "Job was cancelled" if job.cancelled else str(error)
        finally:
            job.interrupt = lambda: None
            job.state = "DONE"


def _value(kind: str, text: str) -> str | date:
    return date.fromisoformat(text) if kind == "DATE" else text


def _type(kind: str) -> str:
    """BigQuery's name of a type of DuckDB."""
    return _TYPES.get(kind.partition("(")[0], "INTEGER")


def _resource(job: Job) -> dict[str, Any]:
    status: dict[str, Any] = {"state": job.state}
    if job.error:
        reason = {"reason": "invalidQuery", "message": job.error}
        status |= {"errorResult": reason, "errors": [reason]}
    return {
        **job.resource,
        "jobReference": {**job.resource["jobReference"], "location": "EU"},
        "status": status,
        "statistics": {"query": {"statementType": "SELECT", "totalBytesProcessed": "1234"}},
    }


def _results(job: Job) -> dict[str, Any]:
    reference = {**job.resource["jobReference"], "location": "EU"}
    if job.state != "DONE":
        time.sleep(0.05)  # the real one waits for seconds
        return {"jobReference": reference, "jobComplete": False}
    return {
        "jobReference": reference,
        "jobComplete": True,
        "schema": {"fields": job.fields},
        "totalRows": str(len(job.rows)),
        "rows": job.rows,
    }


@contextmanager
def bigquery_service(database: LakeDatabase) -> Iterator[BigQueryService]:
    """Start the service on a free port of 127.0.0.1, for the lake of a database."""
    service = BigQueryService(database)

    class Api(WebService):
        def respond(self) -> None:
            body = json.loads(self.body() or b"{}")
            path = self.path.partition("?")[0]
            job = path.rpartition("/")[2]
            found = service.call(self.command, path, body)
            status = 200
            if "/queries/" in path and service.jobs[job].error:
                found = {"error": {"code": 400, "message": service.jobs[job].error}}
                status = 400
            self.answer_json(status, found)

    with serving(Api) as address:
        service.address = f"http://{address}"
        try:
            yield service
        finally:
            for job in service.jobs:
                service.call("POST", f"/projects/taxis/jobs/{job}/cancel", {})
