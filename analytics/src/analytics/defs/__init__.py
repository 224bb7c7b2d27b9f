"""Definitions, one module a topic."""

import warnings

import dagster as dg

# Of Dagster's interfaces in beta, those in use are listed in docs/reference/operations.md. Dagster would name
# each of them in the log of every run.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
