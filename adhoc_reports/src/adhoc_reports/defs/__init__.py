"""Definitions, one module a topic."""

import gc
import warnings

import dagster as dg

# Dagster's modules are here to stay: without them to look through, a collection of garbage takes
# 5 ms instead of 60, in the start of every run.
gc.freeze()

# Of Dagster's interfaces in beta, those in use are listed in docs/operating.md. Dagster would name
# each of them in the log of every run.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
