"""The partitions of `adhoc_request`: one per report, by its name."""

import dagster as dg

reports = dg.DynamicPartitionsDefinition(name="reports")
