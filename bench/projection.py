"""On paper: what TLC's whole published history would take, from the measured slopes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.scale import median

YELLOW = 1.7e9
YELLOW_AND_FHVHV = 3.4e9
NIGHT_SECONDS = 8 * 3600
PATIENCE_SECONDS = 60
TERABYTE = 1e12


@dataclass(frozen=True)
class Costs:
    """What rows cost: seconds of a run, bytes of raw file and lake, seconds of a full scan."""

    run_seconds: float
    bytes: float
    scan_seconds: float | None
    memory_mb: float
    memory_mb_a_row: float


def costs(measured: dict[str, Any]) -> Costs | None:
    """The cost of a row by the measured growth; None where that was not measured."""
    if "growth_months" not in measured:
        return None
    growth = measured["growth_months"]
    largest = growth["points"][-1]
    sizes = measured.get("growth_rows", {"points": [largest], "mb_a_million_rows": 0.0})
    return Costs(
        run_seconds=growth["seconds_a_million_rows"] / 1e6,
        bytes=(largest["lake_bytes"] + largest["raw_bytes"]) / largest["rows"],
        scan_seconds=_scan_seconds(measured, largest["rows"] / largest["months"]),
        memory_mb=max(median(p["largest_mb"]) for p in [*growth["points"], *sizes["points"]]),
        memory_mb_a_row=max(0.0, sizes["mb_a_million_rows"] / 1e6),
    )


def _scan_seconds(measured: dict[str, Any], rows_a_month: float) -> float | None:
    """What a row more costs the asset that reads every month: zone counts."""
    if "lake" not in measured:
        return None
    few, many = measured["lake"]["few"], measured["lake"]["many"]
    rows = (many["months"] - few["months"]) * rows_a_month
    more = median(many["all"]) - median(few["all"])
    return float(max(0.0, more / rows))


def table(found: Costs) -> Iterator[Sequence[str]]:
    """Header and rows: the history, hours of one run, disk, memory, seconds of a full scan."""
    yield ("history", "rows", "one run over all of it", "raw + lake", "memory", "zone counts")
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
    """Where one machine like this stops being enough, in a sentence a limit."""
    sentences = [
        "A row of fhvhv counts as one of yellow.",
        f"Everything can be loaded anew within a night of 8 hours up to "
        f"{NIGHT_SECONDS / found.run_seconds / 1e9:.2g} billion rows.",
        f"A disk of 1 TB holds raw files and lake of {TERABYTE / found.bytes / 1e9:,.0f} "
        "billion rows.",
    ]
    if found.scan_seconds:
        sentences.append(
            f"An asset that reads every month, such as the zone counts, takes a minute from "
            f"{PATIENCE_SECONDS / found.scan_seconds / 1e9:.2g} billion rows on: more cores push "
            "that away, or an engine on many machines over the same Parquet."
        )
    sentences.append(
        "Two months are loaded at a time, large ones alone, so memory follows the largest and not "
        f"the history: {found.memory_mb_a_row * 1e6:.1f} MB for each million rows more in a month, "
        f"{found.memory_mb:.0f} MB at most here."
    )
    return " ".join(sentences)
