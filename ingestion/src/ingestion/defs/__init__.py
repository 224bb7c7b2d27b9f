"""Dagster definitions, one module per topic."""

import warnings

import dagster as dg

# Dagster would log each beta interface in every run. docs/reference/operations.md lists those that
# are in use.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
