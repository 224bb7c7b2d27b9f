"""The ingestion team's code location: TLC's files and zones, from their publisher into the lake."""
