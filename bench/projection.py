"""An estimate of what TLC's whole published history would take, from the measured slopes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.scale import median

YELLOW = 1.7e9
YELLOW_AND_FHVHV = 3.4e9
NIGHT_SECONDS = 8 * 3600
SCAN_SECONDS = 60
TERABYTE = 1e12


@dataclass(frozen=True)
class Costs:
    """Costs per row: seconds of a run, bytes of raw file and lake, seconds of a full scan.

    `memory_mb` is the highest peak, `memory_mb_per_row` its growth with the rows of a month.
    """

    run_seconds: float
    bytes: float
    scan_seconds: float | None
    memory_mb: float
    memory_mb_per_row: float


def costs(measured: dict[str, Any]) -> Costs | None:
    """The costs that the measured growth shows; None if it was not measured."""
    if "growth_months" not in measured:
        return None
    growth = measured["growth_months"]
    largest = growth["points"][-1]
    sizes = measured.get("growth_rows", {"points": [largest], "mb_per_million_rows": 0.0})
    return Costs(
        run_seconds=growth["seconds_per_million_rows"] / 1e6,
        bytes=(largest["lake_bytes"] + largest["raw_bytes"]) / largest["rows"],
        scan_seconds=_scan_seconds(measured, largest["rows"] / largest["months"]),
        memory_mb=max(median(p["largest_mb"]) for p in [*growth["points"], *sizes["points"]]),
        memory_mb_per_row=max(0.0, sizes["mb_per_million_rows"] / 1e6),
    )


def _scan_seconds(measured: dict[str, Any], rows_per_month: float) -> float | None:
    """Seconds per row of the asset that reads every month, the zone statistics."""
    if "lake" not in measured:
        return None
    few, many = measured["lake"]["few"], measured["lake"]["many"]
    rows = (many["months"] - few["months"]) * rows_per_month
    more = median(many["all"]) - median(few["all"])
    return float(max(0.0, more / rows))


def table(found: Costs) -> Iterator[Sequence[str]]:
    """Header and rows: the history, hours of one run, disk, memory, seconds of a full scan."""
    yield ("history", "rows", "one run for all of it", "raw + lake", "memory", "zone statistics")
    for name, rows in (("yellow", YELLOW), ("yellow and fhvhv", YELLOW_AND_FHVHV)):
        scan = f"{found.scan_seconds * rows:,.0f} s" if found.scan_seconds else "not measured"
        yield (
            name,
            f"{rows / 1e9:.1f} billion",
            f"{found.run_seconds * rows / 3600:.1f} h",
            f"{found.bytes * rows / 1e9:,.0f} GB",
            f"{found.memory_mb:.0f} MB",
            scan,
        )


def limits(found: Costs) -> str:
    """How many rows one such machine can handle, a sentence per limit."""
    sentences = [
        "This takes a row of fhvhv for one of yellow.",
        f"A night of 8 hours is enough to reload {NIGHT_SECONDS / found.run_seconds / 1e9:.2g} "
        "billion rows.",
        f"A disk of 1 TB holds the raw files and the lake of {TERABYTE / found.bytes / 1e9:,.0f} "
        "billion rows.",
    ]
    if found.scan_seconds:
        sentences.append(
            f"An asset that reads every month, such as the zone statistics, reads "
            f"{SCAN_SECONDS / found.scan_seconds / 1e9:.2g} billion rows in a minute; more rows "
            "need more cores, or a distributed engine on the same Parquet."
        )
    sentences.append(
        "Memory depends on the largest month and not on the history, since at most one month per "
        f"core is loaded at a time: {found.memory_mb_per_row * 1e6:.1f} MB per million rows more "
        f"in a month, at most {found.memory_mb:.0f} MB here."
    )
    return " ".join(sentences)
