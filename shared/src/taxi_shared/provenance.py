"""The publisher of the data, in words for people.

A load writes it into the footer of each file in the lake; charts, maps and pages read it there.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

TLC = "NYC Taxi & Limousine Commission"
SYNTHETIC = "synthetic sample data, not trips of New York"
UNKNOWN = "not recorded"
TLC_HOSTS = ("d37ci6vzurychx.cloudfront.net", "www.nyc.gov")


def publisher(address: str, is_synthetic: bool = False) -> str:
    """Return the publisher of a file fetched from an http(s) address or a local path."""
    if is_synthetic:
        return SYNTHETIC
    host = urlsplit(address).hostname if "://" in address else None
    if host in TLC_HOSTS:
        return TLC
    return f"{TLC}, as copied to {host}" if host else f"{TLC}, as copied to a local folder"


def source_line(publishers: Iterable[str]) -> str:
    """Return the line `Source: …` for the publishers of the data shown."""
    found = sorted({each or UNKNOWN for each in publishers})
    return f"Source: {'; '.join(found) or UNKNOWN}"
