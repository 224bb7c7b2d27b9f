"""Alerts: what went wrong in any location, told by webhook and by e-mail.

A process of its own beside the daemon asks the webserver's API. A sensor could not tell of its own
location that does not load, nor of failures to evaluate it; and Dagster's sensor of failed runs
knows neither checks nor ticks.
"""
