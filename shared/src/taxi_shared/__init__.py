"""What the three code locations agree on: keys, partitions, tables, and how files and tables are reached.

No definitions live here: importing any module of this package creates no asset, job or sensor.
"""
