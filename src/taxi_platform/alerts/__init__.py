"""Alerts: failures in any location, sent by webhook and e-mail.

A process beside the daemon polls the webserver's API. A sensor cannot report that its own location
does not load or that its own ticks fail, and Dagster's run failure sensor covers neither checks nor
ticks.
"""
