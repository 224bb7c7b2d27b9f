"""Faults that are injected into started instances: `make faults`; docs/reliability.md."""
