"""The reporting team's code location: a chart for each request that someone puts into a folder."""
