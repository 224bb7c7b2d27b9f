"""A job of Spark that answers a question about the lake; a run of Dagster launches it.

It needs PySpark 3.5 or newer, Python 3.10 or newer and the package dagster-pipes, and nothing of
the platform: this file alone is what a cluster gets. The question comes by Dagster Pipes, and says
which files of each table to read: those of one moment of the lake, whatever is loaded meanwhile.
The answer and the job's logs go back the same way.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    PipesContextLoader,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesEnvVarParamsLoader,
    PipesGCSContextLoader,
    PipesGCSMessageWriter,
    PipesMessageWriter,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

# How often messages are sent.
SECONDS = 2


def answer(spark: SparkSession, question: Mapping[str, Any]) -> dict[str, Any]:
    """Run the query of a question.

    Returns the names and types of the columns, and the rows with every value as text. Raises
    ValueError for an answer that has too many rows, or floating-point numbers.
    """
    for table in question["tables"]:
        read_table(spark, table).createOrReplaceTempView(table["name"])
    values = {name: to_literal(**each) for name, each in question["parameters"].items()}
    found = spark.sql(question["sql"], args=values)
    types = dict(found.dtypes)
    if floats := [name for name, kind in types.items() if kind in ("float", "double")]:
        raise ValueError(f"{', '.join(floats)}: floating-point numbers; cast to DECIMAL")
    text = found.select(*(col(name).cast("string") for name in types))
    rows = [list(row) for row in text.limit(question["max_rows"] + 1).collect()]
    if len(rows) > question["max_rows"]:
        raise ValueError(f"the answer has over {question['max_rows']:,} rows")
    return {"columns": types, "rows": rows}


def read_table(spark: SparkSession, table: Mapping[str, Any]) -> DataFrame:
    """A table's files; a column that a file lacks is NULL, and so is one that no file has."""
    if not table["files"]:
        return spark.createDataFrame([], table["schema"])
    return (
        spark.read.schema(table["schema"])
        .option("basePath", table["folder"])  # where the folder names of partitions begin
        .parquet(*table["files"])
    )


def to_literal(kind: str, value: str) -> str | date:
    """The value of a parameter: a text or a date."""
    return date.fromisoformat(value) if kind == "date" else value


@contextmanager
def open_pipes() -> Iterator[PipesContext]:
    """Open the connection to the run of Dagster: by files, or by objects of a store."""
    by_arguments = any(argument.startswith("--dagster-pipes") for argument in sys.argv)
    loader: Any = PipesCliArgsParamsLoader if by_arguments else PipesEnvVarParamsLoader
    params = loader()
    reader, writer = reader_and_writer(params.load_context_params().get("store", ""))
    with open_dagster_pipes(
        params_loader=params, context_loader=reader, message_writer=writer
    ) as pipes:
        yield pipes


def reader_and_writer(store: str) -> tuple[PipesContextLoader, PipesMessageWriter[Any]]:
    """What reads the question, and what writes the answer: to `s3`, `gs`, or else local files."""
    if store == "s3":
        import boto3

        client = boto3.client("s3")
        return PipesS3ContextLoader(client), PipesS3MessageWriter(client, interval=SECONDS)
    if store == "gs":
        from google.cloud import storage

        client = storage.Client()
        return PipesGCSContextLoader(client), PipesGCSMessageWriter(client, interval=SECONDS)
    return PipesDefaultContextLoader(), PipesDefaultMessageWriter()


def open_session(name: str) -> SparkSession:
    """Return a session of Spark that computes as other engines do, with the name of its job."""
    return (
        SparkSession.builder.appName(name)
        # An overflow is an error, as with other engines, in Spark 3 too.
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )


def main() -> None:
    """Answer the question of the run that launched this."""
    with open_pipes() as pipes:
        question = pipes.get_extra("question")
        spark = open_session(f"{question['name']} {pipes.run_id}")
        pipes.log.info(
            f"Spark {spark.version} at {spark.sparkContext.master} has the job "
            f"{spark.sparkContext.applicationId}"
        )
        with spark_stopped_after(spark):
            found = answer(spark, question)
        pipes.report_custom_message({"version": spark.version, **found})


@contextmanager
def spark_stopped_after(spark: SparkSession) -> Iterator[None]:
    """Stop Spark before the answer is sent, so that no error can follow it.

    On Databricks, it belongs to the cluster, which a stop would restart.
    """
    try:
        yield
    finally:
        if "DATABRICKS_RUNTIME_VERSION" not in os.environ:
            spark.stop()


if __name__ == "__main__":
    main()
