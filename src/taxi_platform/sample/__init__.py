"""A stand-in for TLC's files, to try the platform without a network: invented trips and zones.

Here: where the sample's files lie, how they are written, and how each says that it is synthetic.
What is in them is made by `trips` and `zones`.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_platform.sample.trips import BATCH_ROWS, FIRST_MONTHS, trip_batches, trip_schema
from taxi_platform.sample.zones import taxi_zone_lookup_csv, taxi_zones_csv

__all__ = ["write_sample"]

Progress = Callable[[Path, int, int], None]

# Raise it when rows, columns or zones come out otherwise than before, so that older files are
# written anew.
GENERATOR_VERSION = 1
# TLC's row groups have 1,048,576 rows.
BATCHES_A_ROW_GROUP = (1 << 20) // BATCH_ROWS

NOTE_NAME = "SYNTHETIC.txt"
NOTE = """SYNTHETIC DATA

The files beside and below this note are invented by a program. They have the layout, columns, types
and oddities of the trip records and taxi zones that New York's Taxi and Limousine Commission
publishes, and not one of its rows.
Zones, fares and trips are made up: draw no conclusion about New York from them.
"""


def write_sample(
    root: Path,
    months: Sequence[date],
    rows: int,
    *,
    service: str = "yellow",
    progress: Progress | None = None,
) -> list[Path]:
    """Write invented trips, `rows` for each month, and zones under `root`, laid out as TLC's site.

    `<root>/trip-data/yellow_tripdata_2023-03.parquet` a month, `<root>/misc/taxi_zones.csv` and
    `<root>/misc/taxi_zone_lookup.csv`; these paths are returned in this order. Any day stands for
    its month. A file that is there for the same parameters is left alone; others come whole or not
    at all, also when two processes write at once. `progress` is called with a file, its rows so far
    and its rows in all.

    Raises ValueError for a service, month or number of rows that cannot be had, and FileExistsError
    rather than replace a file that is not synthetic.
    """
    first_days = list(dict.fromkeys(month.replace(day=1) for month in months))
    _check(service, first_days, rows)
    _refuse_to_replace_originals(root)
    _write_text(root / NOTE_NAME, NOTE)
    trips = [_write_month(root, service, month, rows, progress) for month in first_days]
    return [
        *trips,
        _write_text(root / "misc" / "taxi_zones.csv", taxi_zones_csv()),
        _write_text(root / "misc" / "taxi_zone_lookup.csv", taxi_zone_lookup_csv()),
    ]


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
    # Folders first: another writer puts the note there before them, so it is not taken for TLC.
    has_files = any((root / folder).exists() for folder in ("trip-data", "misc"))
    if has_files and not (root / NOTE_NAME).exists():
        raise FileExistsError(
            f"{root} has TLC's folders but no {NOTE_NAME}, so its files may be originals: "
            "choose another folder"
        )


def _write_month(
    root: Path, service: str, month: date, rows: int, progress: Progress | None
) -> Path:
    path = root / "trip-data" / f"{service}_tripdata_{month:%Y-%m}.parquet"
    label = {
        "synthetic": "invented trips, not data of the Taxi and Limousine Commission",
        "synthetic.rows": str(rows),
        "synthetic.generator_version": str(GENERATOR_VERSION),
    }
    report = progress or (lambda path, done, total: None)
    if _has_label(path, label):
        report(path, rows, rows)
        return path
    with _moved_into_place(path) as unfinished:
        schema = trip_schema(service, month)
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for done in _write_row_groups(writer, trip_batches(service, month, rows)):
                report(path, done, rows)
            writer.add_key_value_metadata(label)
    return path


def _write_row_groups(writer: pq.ParquetWriter, batches: Iterator[pa.RecordBatch]) -> Iterator[int]:
    """Rows written so far, after each row group. No more than one row group is held."""
    done, group = 0, []
    for batch in batches:
        group.append(batch)
        done += batch.num_rows
        if len(group) == BATCHES_A_ROW_GROUP:
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
        with _moved_into_place(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _moved_into_place(path: Path) -> Iterator[Path]:
    """A name of this writer's own beside `path`, moved to `path` once the block has succeeded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
