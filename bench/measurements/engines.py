"""The same questions answered by DuckDB and by Spark, on the same cores."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from bench.ours import make_lake
from bench.runs import BenchError
from bench.scale import FEW_MONTHS, Bench, median, month_range
from taxi_platform import spark
from taxi_shared.database import LakeDatabase
from taxi_shared.engines import Engine, Question
from taxi_shared.engines.local import DuckDB
from taxi_shared.engines.spark import SparkSubmit
from taxi_testing.questions import SQL, question

Times = dict[str, list[float]]
"""Seconds by the asset that asks."""

REPEATS = 3


def measure_engines(bench: Bench) -> dict[str, Any]:
    """Ask about all weeks, the zones, and the hours of a borough, of few and of many months.

    Each question of Spark starts a job, as in a run. The answers must be equal.
    """
    try:
        spark.check_installed(spark.HOME)
    except spark.SparkError as error:
        raise BenchError(str(error)) from None
    os.environ.update(spark.spark_home(spark.HOME))
    result: dict[str, Any] = {"version": spark.version_of(spark.HOME), "sizes": []}
    for months in (FEW_MONTHS, bench.months):
        database = LakeDatabase(data_root=str(make_lake(bench, months)), memory_limit="4GB")
        on_spark = SparkSubmit(
            database=database,
            command=str(spark.HOME / "bin" / "spark-submit"),
            options="--driver-memory 4g --conf spark.ui.enabled=false",
        )
        asked = [_of_all_days(question(database.lake, metric), months) for metric in SQL]
        engines = {"duckdb": DuckDB(database=database), "spark": on_spark}
        times: dict[str, Times] = {name: {metric: [] for metric in SQL} for name in engines}
        answers: dict[str, Any] = {}
        for _ in range(REPEATS):
            for name, engine in engines.items():
                _ask(engine, asked, times[name], answers)
        result["sizes"].append({"rows": months * bench.rows, **times})
        for metric in SQL:
            seconds = [median(times[name][metric]) for name in engines]
            bench.log(
                f"{metric}, {months} months: DuckDB {seconds[0]:.2f} s, Spark {seconds[1]:.1f} s"
            )
    return result


def _of_all_days(asked: Question[Any], months: int) -> Question[Any]:
    """The question about all months."""
    period = month_range(months)
    parameters = dict(asked.parameters)
    if asked.days:
        parameters |= {"start_date": period.first, "end_date": period.end}
    if "zone" in parameters:
        parameters["zone"] = ""
    return replace(asked, parameters=parameters, days=asked.days and (period.first, period.end))


def _ask(
    engine: Engine, asked: Sequence[Question[Any]], times: Times, answers: dict[str, Any]
) -> None:
    """Add the seconds of each question, in a run. Raises BenchError for another answer."""

    @dg.op
    def ask(context: dg.OpExecutionContext, engine: dg.ResourceParam[Engine]) -> None:
        for each in asked:
            begin = time.perf_counter()
            rows = engine.ask(context, each).rows  # type: ignore[arg-type] # Pipes takes both
            seconds = round(time.perf_counter() - begin, 3)
            times[each.name].append(seconds)
            if answers.setdefault(each.name, rows) != rows:
                raise BenchError(f"{type(engine).__name__} answers {each.name} otherwise")

    @dg.job(resource_defs={"engine": engine.get_resource_definition()})
    def job() -> None:
        ask()

    job.execute_in_process({"loggers": {"console": {"config": {"log_level": "ERROR"}}}})
