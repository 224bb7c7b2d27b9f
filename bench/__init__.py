"""Benchmarks of the platform against a bare script and the usual set-up.

Run `python -m bench` in the project's root. The platform imports nothing from here, and no test
depends on a time measured here.
"""
