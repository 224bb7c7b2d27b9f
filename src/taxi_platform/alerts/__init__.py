"""Alerts: failures in any code location, sent by webhook and e-mail, or logged.

A process beside the daemon polls the webserver's API. Dagster's own `run_failure_sensor` with
`monitor_all_code_locations=True` cannot replace it:

- it reports runs only, not failed checks, failed ticks, or a location that does not load;
- it runs in one code location: while that one is down, every failure goes unreported;
- that location would need the channels' code, their passwords and a way out to the network;
- a message that cannot be delivered would have to wait in a cursor of limited size;
- with both, a failed run would be reported by two programs, each with its own state.
"""
