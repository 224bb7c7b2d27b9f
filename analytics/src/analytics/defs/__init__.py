"""Definitions, one module per topic."""

import warnings

import dagster as dg

# docs/reference/operations.md lists the beta features in use. Dagster would warn of each of them in
# the log of every run.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
