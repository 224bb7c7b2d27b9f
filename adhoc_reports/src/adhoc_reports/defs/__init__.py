"""Definitions, one module a topic."""

import warnings

import dagster as dg

# Dagster would name each interface in beta in the log of every run. Those in use are listed in
# docs/reference/operations.md.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
