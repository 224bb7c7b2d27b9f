"""The scale of a run, its folders, its sample, and its progress on the terminal."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taxi_platform.calendar import MonthRange
from taxi_platform.sample import write_sample

STANDARD_ROWS = 3_300_000
# A row takes about 17 bytes in the sample, in the rivals' copies and in the lakes.
BYTES_PER_ROW = 19
USUAL_MONTHS = 6
FEW_MONTHS = 3
# 2023 begins with a Sunday, as weeks do here.
FIRST_MONTH = date(2023, 1, 1)
HISTORY_FIRST, HISTORY_MONTHS, HISTORY_ROWS = date(2009, 1, 1), 204, 40_000


class NotEnoughDisk(Exception):
    """The run would fill the disk."""


@dataclass(frozen=True)
class Bench:
    """A run of the benchmarks.

    work: its folder, on the disk that is measured
    rows: per month of the sample
    full: 36 months instead of six
    history_rows: per month of the history
    """

    work: Path
    rows: int
    full: bool
    history_rows: int
    console: Console = field(default_factory=Console)

    @property
    def mode(self) -> str:
        """The name of the scale: `full` or `quick`."""
        return "full" if self.full else "quick"

    @property
    def is_standard(self) -> bool:
        """Whether the months have the standard number of rows, as in the published tables."""
        return self.rows == STANDARD_ROWS

    @property
    def months(self) -> int:
        """The number of months in the large lake."""
        return 36 if self.full else 6

    @property
    def month_counts(self) -> tuple[int, ...]:
        """The numbers of months that the growth measurement loads in one run."""
        return (1, 3, 12, 36) if self.full else (1, 3, 6)

    @property
    def month_sizes(self) -> tuple[int, ...]:
        """Rows of single months: 3, 12 and 24 million, or in proportion to `rows`."""
        factors = (10, 40, 80) if self.full else (10, 40)
        return tuple(self.rows * factor // 11 for factor in factors)

    @property
    def large_months(self) -> int:
        """The number of large months that are loaded in one run."""
        return 4 if self.full else 2

    @property
    def large_rows(self) -> int:
        """Rows of a large month: 13 million as in 2010 to 2016, or in proportion to `rows`."""
        return self.rows * 130 // 33

    @property
    def points_rows(self) -> int:
        """Rows of a month with points: 14 million as in 2009, or in proportion to `rows`."""
        return self.rows * 140 // 33 if self.full else self.rows

    def source(self, rows: int | None = None) -> Path:
        """The folder of the sample with `rows` rows per month."""
        return self.work / "sample" / str(rows or self.rows)

    def make_sample(self, months: int, rows: int | None = None, first: date = FIRST_MONTH) -> Path:
        """The folder of the sample; writes its `months` months from `first` on if missing."""
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

            write_sample(
                self.source(size), month_range(months, first).months, size, progress=report
            )
        return self.source(size)

    def log(self, text: str) -> None:
        """Print a line of progress."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    def check_disk(self) -> None:
        """Log the needed and the free disk space. Raises NotEnoughDisk."""
        months = self.rows * self.months
        large = self.large_months * self.large_rows
        more = 3 * sum(self.month_sizes) + 6 * 6 * self.rows + 5 * large
        history = HISTORY_MONTHS * self.history_rows
        needed = BYTES_PER_ROW * (7 * months + more + history)
        self.work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.work).free
        text = (
            f"{self.work} needs up to {needed / 1e9:.1f} GB of disk; {free / 1e9:.1f} GB are free"
        )
        if needed > free:
            raise NotEnoughDisk(
                f"{text}. Choose a folder on another disk with --work, or fewer --rows."
            )
        self.log(text)


def month_range(months: int, first: date = FIRST_MONTH) -> MonthRange:
    """`months` months from `first` on."""
    years, month = divmod(first.month - 1 + months - 1, 12)
    last = date(first.year + years, month + 1, 1)
    return MonthRange.between(f"{first:%Y-%m}", f"{last:%Y-%m}")


def years(months: int, first: date) -> Iterator[tuple[int, date]]:
    """Divide `months` months from `first` on into parts of twelve: how many, and the first."""
    for start in range(0, months, 12):
        yield min(12, months - start), month_range(start + 1, first).months[-1]


def partition_keys(months: int, first: date = FIRST_MONTH) -> list[str]:
    """The partition keys of `months` months from `first` on."""
    return [month.isoformat() for month in month_range(months, first).months]


def empty_folder(folder: Path) -> Path:
    """Empty a folder, or create it, and wait until the disk is idle.

    Earlier measurements leave gigabytes in the system's cache, and writing them to disk would slow
    the next measurement.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    return folder


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def size_of(folder: Path, pattern: str = "*.parquet") -> int:
    """The bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob(pattern))
