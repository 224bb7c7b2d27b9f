# /// script
# requires-python = ">=3.11"
# dependencies = ["pyspark>=4.0,<4.1", "delta-spark>=4.0,<4.1"]
# ///
"""Trips per month, by Spark with its Delta package, which it downloads at its first use."""

import sys

from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession

builder = SparkSession.builder.config(
    "spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension"
).config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
spark = configure_spark_with_delta_pip(builder).getOrCreate()
spark.read.format("delta").load(sys.argv[1]).groupBy("partition_date").count().orderBy(
    "partition_date"
).show()
