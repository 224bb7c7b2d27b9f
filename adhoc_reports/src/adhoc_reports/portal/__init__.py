"""The report portal: pages and an API to ask for charts, see them made, and find them again.

It writes requests and reads outputs, and needs no other rights. Files are the truth about requests
and reports; Dagster is asked over GraphQL where a request is on its way, and may be absent.
"""
