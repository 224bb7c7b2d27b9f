"""Spark by Dagster Pipes: a question becomes a job, `spark_job.py`, wherever Spark runs."""

import re
import shlex
from abc import abstractmethod
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field
from upath import UPath

from taxi_shared import stores
from taxi_shared.engines import MAX_ROWS, Answer, Engine, NoAnswer, Question, Row
from taxi_shared.table_log import LakeFile
from taxi_shared.tables import Column, Table

JOB = Path(__file__).with_name("spark_job.py")
# How long spark-submit may take to end its job when the run is cancelled.
CANCEL_SECONDS = 60

_TYPES = {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ"}


class SparkEngine(Engine):
    """Answers by a job of Spark, which gets the question and sends the answer by Dagster Pipes.

    The job reads the files that the lake's log names, as they are when the question is asked.
    """

    @classmethod
    def kind(cls) -> str:
        """Return the kind of the assets that it answers, whichever service runs the job."""
        return "spark"

    @property
    def s3_scheme(self) -> str:
        """How this Spark names files on S3."""
        return "s3"

    @abstractmethod
    def run_job(
        self, context: dg.AssetExecutionContext, extras: dict[str, Any]
    ) -> dg.PipesClientCompletedInvocation:
        """Run `spark_job.py` to its end, with `extras`. When the run is cancelled, so is the job.

        Raises an error where the job fails.
        """

    def ask(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer a question. Raises NoAnswer, and the errors of the service."""
        with self.database.get_connection(tables=[]) as con:
            files = question.files(con)
        done = self.run_job(context, {"question": to_message(question, files, self.s3_scheme)})
        messages = done.get_custom_messages()
        if len(messages) != 1:
            raise NoAnswer(
                f"{question.name}: the job of Spark ended without an answer; its output is among "
                "the logs of this run"
            )
        (found,) = messages
        rows = question.rows(list(found["columns"]), found["rows"])
        return Answer(rows, {"engine": f"Spark {found['version']}", **done.metadata})


class SparkSubmit(SparkEngine):
    """Spark on this machine, or a cluster that `spark-submit` reaches from here."""

    stores = Engine.stores | {""}
    command: str = Field(default="spark-submit", description="path of spark-submit")
    master: str = Field(
        default="local[*]", description="address of the cluster, as in spark://host:7077"
    )
    options: str = Field(default="", description="further options of spark-submit")

    @property
    def s3_scheme(self) -> str:
        """Spark's own client of S3, the package hadoop-aws."""
        return "s3a"

    def run_job(
        self, context: dg.AssetExecutionContext, extras: dict[str, Any]
    ) -> dg.PipesClientCompletedInvocation:
        """Run `spark-submit`. Raises dagster_pipes.DagsterPipesError where it fails."""
        command = [self.command, "--master", self.master, *shlex.split(self.options), str(JOB)]
        client = dg.PipesSubprocessClient(termination_timeout_seconds=CANCEL_SECONDS)
        return client.run(context=context, command=command, extras=extras)


def to_message(
    question: Question[Row], files: Sequence[tuple[Table, list[LakeFile]]], s3_scheme: str
) -> dict[str, Any]:
    """A question as `spark_job.py` reads it."""
    sql, _ = question.rewrite(lambda name: f":{name}")
    root = question.lake.root.base
    root_of_spark = _address(root, s3_scheme)

    def address(of_lake: str) -> str:
        return f"{root_of_spark}{of_lake.removeprefix(str(root))}"

    return {
        "name": question.name,
        "sql": sql,
        "max_rows": MAX_ROWS,
        "parameters": {
            name: {"kind": "date" if isinstance(value, date) else "text", "value": str(value)}
            for name, value in question.parameters.items()
        },
        "tables": [
            {
                "name": table.name,
                "schema": ", ".join(map(_to_spark, table.all_columns)),
                "folder": address(str(question.lake.folder(table))),
                "files": [_as_pattern(address(file.address)) for file in found],
            }
            for table, found in files
        ],
    }


def _to_spark(column: Column) -> str:
    return f"{column.name} {_TYPES.get(column.type, column.type)}"


def _address(root: UPath, s3_scheme: str) -> str:
    """The address of the data root as Spark's clients of stores take it."""
    if stores.module_of(str(root)) == "azure":
        from taxi_shared import azure

        return azure.hadoop_address(root)
    return str(root).replace("s3://", f"{s3_scheme}://", 1)


def _as_pattern(address: str) -> str:
    """An address for Spark, which takes some characters for those of a pattern."""
    return re.sub(r"([*?{}\[\]\\])", r"\\\1", address)
