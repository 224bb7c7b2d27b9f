"""What every measurement is given: the scale, the folders, the sample, and where it reports."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taxi_platform.calendar import MonthRange
from taxi_platform.sample import write_sample

USUAL_ROWS = 3_300_000
# Of the sample, a row takes some 17 bytes; the rivals' copies and the lakes take as much again.
BYTES_A_ROW = 19
USUAL_MONTHS = 6
FEW_MONTHS = 3


class NotEnoughDisk(Exception):
    """The bench would fill the disk."""


@dataclass(frozen=True)
class Bench:
    """A bench run.

    work: its folder, on the disk that is measured
    rows: of a month of the sample
    full: 36 months, otherwise six
    """

    work: Path
    rows: int
    full: bool
    console: Console = field(default_factory=Console)

    @property
    def mode(self) -> str:
        """The name of the scale: `full` or `quick`."""
        return "full" if self.full else "quick"

    @property
    def is_standard(self) -> bool:
        """Whether months have the size that the published tables are about."""
        return self.rows == USUAL_ROWS

    @property
    def many(self) -> int:
        """Months in a full lake."""
        return 36 if self.full else 6

    @property
    def month_counts(self) -> tuple[int, ...]:
        """How many months the runs of the growth measurement load."""
        return (1, 3, 12, 36) if self.full else (1, 3, 6)

    @property
    def month_sizes(self) -> tuple[int, ...]:
        """Rows of single months: 3, 12 and 24 million, or in the same proportion to `rows`."""
        factors = (10, 40, 80) if self.full else (10, 40)
        return tuple(self.rows * factor // 11 for factor in factors)

    @property
    def points_rows(self) -> int:
        """Rows of a month with points: 14 million, of 2009 the usual number, or in proportion."""
        return self.rows * 140 // 33 if self.full else self.rows

    def source(self, rows: int | None = None) -> Path:
        """The folder of the sample with so many rows per month."""
        return self.work / "sample" / str(rows or self.rows)

    def make_sample(self, months: int, rows: int | None = None) -> Path:
        """A folder with the first so many months, made where it is not there yet."""
        size = rows or self.rows
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(f"sample of {months} × {size:,} rows", total=months * size)
            done: dict[Path, int] = {}

            def report(path: Path, rows_done: int, _: int) -> None:
                done[path] = rows_done
                progress.update(task, completed=sum(done.values()))

            write_sample(self.source(size), month_range(months).months, size, progress=report)
        return self.source(size)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    def check_disk(self) -> None:
        """Say what is needed and what there is. Raises NotEnoughDisk."""
        months = self.rows * self.many
        needed = BYTES_A_ROW * (7 * months + 3 * sum(self.month_sizes) + 6 * 6 * self.rows)
        self.work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.work).free
        text = (
            f"{self.work} needs up to {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
        )
        if needed > free:
            raise NotEnoughDisk(f"{text}: choose another folder by --work, or fewer --rows")
        self.say(text)


def month_range(months: int) -> MonthRange:
    """The first so many months from 2023-01 on, which begins with a Sunday."""
    last = date(2023 + (months - 1) // 12, (months - 1) % 12 + 1, 1)
    return MonthRange.between("2023-01", f"{last:%Y-%m}")


def partition_keys(months: int) -> list[str]:
    """The partition keys of the first so many months."""
    return [month.isoformat() for month in month_range(months).months]


def fresh(folder: Path) -> Path:
    """An empty folder, on a disk that is at rest.

    What was measured before has left gigabytes in the system's cache; its way to the disk is not
    to be paid for by what is measured next.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    return folder


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def size_of(folder: Path, pattern: str = "*.parquet") -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob(pattern))
