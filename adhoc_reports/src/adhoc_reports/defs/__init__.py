"""Definitions, one module a topic."""
