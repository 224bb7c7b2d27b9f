"""Synthetic trips and zones in place of TLC's files, to try the platform without a network.

This module decides where the files are, writes them, and labels each as synthetic. Their content
comes from `trips` and `zones`.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_platform.sample.trips import BATCH_ROWS, FIRST_MONTHS, trip_batches, trip_schema
from taxi_platform.sample.zones import taxi_zone_lookup_csv, taxi_zones_csv

__all__ = ["write_sample"]

Progress = Callable[[Path, int, int], None]

# Increase it when rows, columns or zones change, so that older files are rewritten.
GENERATOR_VERSION = 1
# TLC's row groups have 1,048,576 rows.
BATCHES_PER_ROW_GROUP = (1 << 20) // BATCH_ROWS

NOTE_NAME = "SYNTHETIC.txt"
NOTE = """SYNTHETIC DATA

The files beside and below this note are invented by a program. They have the layout, columns, types
and oddities of the trip records and taxi zones that New York's Taxi and Limousine Commission
publishes, and not one of its rows.
Zones, fares and trips are made up: draw no conclusion about New York from them.
"""


def write_sample(  # noqa: PLR0913 - the last two are options
    root: Path,
    months: Sequence[date],
    rows: int,
    *,
    service: str = "yellow",
    progress: Progress | None = None,
) -> list[Path]:
    """Write invented trips and zones under `root`, in the layout of TLC's site.

    root:     gets `trip-data/yellow_tripdata_2023-03.parquet` per month, `misc/taxi_zones.csv` and
              `misc/taxi_zone_lookup.csv`; their paths are returned in this order
    months:   any day of each month
    rows:     trips per month
    service:  one of `taxi_shared.services`, such as `yellow`
    progress: called with a file, its rows so far, and its total rows

    A file with the same parameters is kept. Others are replaced atomically, so that two processes
    can write at the same time.

    Raises ValueError for an unknown service, a month before its first, or no rows, and
    FileExistsError instead of replacing a file that is not synthetic.
    """
    first_days = list(dict.fromkeys(month.replace(day=1) for month in months))
    _check(service, first_days, rows)
    _refuse_to_replace_originals(root)
    _write_text(root / NOTE_NAME, NOTE)
    report = progress or (lambda path, done, total: None)
    trips = [_write_month(root, Month(service, day, rows), report) for day in first_days]
    return [
        *trips,
        _write_text(root / "misc" / "taxi_zones.csv", taxi_zones_csv()),
        _write_text(root / "misc" / "taxi_zone_lookup.csv", taxi_zone_lookup_csv()),
    ]


@dataclass(frozen=True)
class Month:
    """A month of synthetic trips: service, first day, and number of rows."""

    service: str
    first_day: date
    rows: int

    @property
    def label(self) -> dict[str, str]:
        """The metadata of its Parquet file."""
        return {
            "synthetic": "invented trips, not data of the Taxi and Limousine Commission",
            "synthetic.rows": str(self.rows),
            "synthetic.generator_version": str(GENERATOR_VERSION),
        }


def _check(service: str, months: Sequence[date], rows: int) -> None:
    if service not in FIRST_MONTHS:
        raise ValueError(
            f"no sample of service {service!r}: choose one of {', '.join(FIRST_MONTHS)}"
        )
    if rows < 1:
        raise ValueError(f"a month needs at least one row, not {rows}")
    for month in months:
        if month < FIRST_MONTHS[service]:
            raise ValueError(
                f"{service} trips begin with {FIRST_MONTHS[service]:%Y-%m}: {month:%Y-%m} has none"
            )


def _refuse_to_replace_originals(root: Path) -> None:
    # Check the folders first: another writer creates the note before them.
    has_files = any((root / folder).exists() for folder in ("trip-data", "misc"))
    if has_files and not (root / NOTE_NAME).exists():
        raise FileExistsError(
            f"{root} has TLC's folders but no {NOTE_NAME}, so its files may be originals: "
            "choose another folder"
        )


def _write_month(root: Path, month: Month, report: Progress) -> Path:
    path = root / "trip-data" / f"{month.service}_tripdata_{month.first_day:%Y-%m}.parquet"
    if _has_label(path, month.label):
        report(path, month.rows, month.rows)
        return path
    with _atomic_path(path) as unfinished:
        schema = trip_schema(month.service, month.first_day)
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            batches = trip_batches(month.service, month.first_day, month.rows)
            for done in _write_row_groups(writer, batches):
                report(path, done, month.rows)
            writer.add_key_value_metadata(month.label)
    return path


def _write_row_groups(writer: pq.ParquetWriter, batches: Iterator[pa.RecordBatch]) -> Iterator[int]:
    """Write row groups, one in memory at a time; yields the rows written so far."""
    done, group = 0, []
    for batch in batches:
        group.append(batch)
        done += batch.num_rows
        if len(group) == BATCHES_PER_ROW_GROUP:
            writer.write_table(pa.Table.from_batches(group))
            group.clear()
            yield done
    if group:
        writer.write_table(pa.Table.from_batches(group))
        yield done


def _has_label(path: Path, label: dict[str, str]) -> bool:
    if not path.exists():
        return False
    found = pq.read_metadata(path).metadata or {}
    if b"synthetic" not in found:
        raise FileExistsError(
            f"{path} is not synthetic, it may be TLC's own: move it away or choose another folder"
        )
    return all(found.get(key.encode()) == value.encode() for key, value in label.items())


def _write_text(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with _atomic_path(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
