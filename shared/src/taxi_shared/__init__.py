"""Shared by the code locations: asset keys, partitions, tables, files and how to reach them.

It defines nothing for Dagster: importing a module creates no asset, job or sensor.
"""
