"""Definitions, one module a topic."""

import gc

import dagster  # noqa: F401

# Dagster's modules are here to stay: without them to look through, a collection of garbage takes
# 5 ms instead of 60, in the start of every run.
gc.freeze()
