"""The analytics team's code location: weekly figures and a map of Manhattan, from the lake."""
