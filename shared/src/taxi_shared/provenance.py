"""Provenance: who published the data, in words for people.

It travels with the data: a load writes it into the footer of each month's file in the lake, and
every chart, map and page shows what those footers say.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

TLC = "NYC Taxi & Limousine Commission"
SYNTHETIC = "synthetic sample data, not trips of New York"
UNKNOWN = "not recorded"
TLC_HOSTS = ("d37ci6vzurychx.cloudfront.net", "www.nyc.gov")


def publisher(address: str, is_synthetic: bool = False) -> str:
    """The publisher of a file that was fetched from an http(s) address or a local path."""
    if is_synthetic:
        return SYNTHETIC
    host = urlsplit(address).hostname if "://" in address else None
    if host in TLC_HOSTS:
        return TLC
    return f"{TLC}, as copied to {host}" if host else f"{TLC}, as copied to a local folder"


def source_line(publishers: Iterable[str]) -> str:
    """`Source: …` for the publishers of all data that something shows."""
    found = sorted({each or UNKNOWN for each in publishers})
    return f"Source: {'; '.join(found) or UNKNOWN}"
