"""What the platform's orchestration costs, measured beside a bare script and the usual set-up.

`python -m bench` from the project's root. Nothing here is imported by the platform, and no test
depends on a time measured here.
"""
