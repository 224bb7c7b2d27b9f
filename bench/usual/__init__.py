"""The second rival: the usual set-up, as courses on Dagster build it. See `definitions`."""
