"""The report portal: pages and an API to request charts, follow them, and find them again.

It writes requests and reads outputs; it needs no other rights, and no path to Dagster.
"""
