"""What the three code locations agree on: keys, partitions, tables, files and how to reach them.

No definitions live here: importing any module of this package creates no asset, job or sensor.
"""
