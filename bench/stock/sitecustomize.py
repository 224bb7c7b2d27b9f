"""Nothing: first on PYTHONPATH, it leaves Python's garbage collector as it comes for the rivals."""
