"""Every kind of report and every measure on Spark and on DuckDB, on TLC's real months.

`make spark-environment` makes the environment; one process of Spark answers all queries.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.measures import MEASURES
from adhoc_reports.lib.request import Question
from adhoc_reports.lib.services import SERVICES
from taxi_shared import engines
from taxi_shared.database import LakeDatabase
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.spark import JOB, to_message
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot
from taxi_testing.questions import REPOSITORY

from . import real_months

pytestmark = pytest.mark.spark

PYTHON = REPOSITORY / ".tools" / "spark" / "bin" / "python"
PERIODS = {
    "yellow": {"start_date": "2019-01-05", "end_date": "2019-03-20"},
    "green": {"start_date": "2024-01-03", "end_date": "2024-01-30"},
    "fhv": {"start_date": "2019-02-03", "end_date": "2019-02-27"},
    "fhvhv": {"start_date": "2019-02-03", "end_date": "2019-02-27"},
}
# The job's own functions, in one session for all queries.
ANSWER_ALL = """
import json, sys
from pathlib import Path
import spark_job
spark = spark_job.open_session("kinds")
messages = json.loads(Path(sys.argv[1]).read_text())
Path(sys.argv[2]).write_text(json.dumps([spark_job.answer(spark, each) for each in messages]))
"""


def ask(service: str, kind: str, measure: str, **fields: str) -> Question:
    """A question about trips of a service in the middle of its months."""
    asked = {"service": service, "kind": kind, "measure": measure, "borough": "Manhattan"}
    other = {"other_borough": "Queens"} if kind == "compare" else {}
    return Question.model_validate(asked | PERIODS[service] | other | fields)


def questions() -> list[Question]:
    """Every kind and measure of yellow trips, and every measure of the other services."""
    by_kind = [ask("yellow", kind, measure) for kind in KINDS for measure in MEASURES]
    sides = [ask("yellow", "flows", measure, side="dropoff") for measure in MEASURES]
    services = [
        ask(service, "trend", measure, borough="New York City")
        for service in SERVICES
        for measure in MEASURES
        if service != "yellow" and not SERVICES[service].lacks(MEASURES[measure].columns)
    ]
    return [*by_kind, *sides, *services]


def answer_on_spark(
    database: LakeDatabase, queries: list[engines.Question[Any]], folder: Path
) -> list[list[Any]]:
    messages = []
    for query in queries:
        with database.get_connection(tables=[]) as con:
            messages.append(to_message(query, query.files(con), "s3a"))
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(json.dumps(messages))
    shutil.copy(JOB, folder)
    subprocess.run(
        [PYTHON, "-c", ANSWER_ALL, asked, answered],
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
        cwd=folder,
        check=True,
    )
    answers = json.loads(answered.read_text())
    return [
        query.rows(list(answer["columns"]), answer["rows"])
        for query, answer in zip(queries, answers, strict=True)
    ]


def test_spark_measures_what_duckdb_measures(tmp_path: Path) -> None:
    lake = Lake(DataRoot.at(str(tmp_path / "data")))
    real_months.write(lake)
    database = LakeDatabase(data_root=str(lake.root.base))
    queries = [
        query
        for question in questions()
        for query in KINDS[question.kind].ask(lake.snapshot(), question)
    ]
    by_spark = answer_on_spark(database, queries, tmp_path)
    engine, context = DuckDB(database=database), dg.build_asset_context()
    for query, rows in zip(queries, by_spark, strict=True):
        expected = engine.ask(context, query).rows
        assert sorted(rows, key=str) == sorted(expected, key=str), query.sql
    assert len(queries) > len(KINDS) * len(MEASURES)
    assert min(map(len, by_spark)) > 0
