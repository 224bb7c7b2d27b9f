"""The second rival: the usual set-up, as courses on Dagster teach it. See `definitions`."""
