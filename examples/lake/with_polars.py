# /// script
# requires-python = ">=3.11"
# dependencies = ["polars>=1.30", "deltalake>=1.6.6,<2"]
# ///
"""Trips per month, by Polars."""

import sys

import polars

trips = polars.scan_delta(sys.argv[1])
print(trips.group_by("partition_date").len("num_trips").sort("partition_date").collect())
