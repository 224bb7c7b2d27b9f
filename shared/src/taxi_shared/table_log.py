"""The log of a table: which files it has, in the format of Delta Lake.

A file counts once a commit of the log names it; files are never changed. So a reader that has read
the log sees one version of the table, whatever writers do meanwhile. The library `deltalake` reads
and writes logs, DuckDB the files that they name. Format:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from upath import UPath

from taxi_shared import storage, stores
from taxi_shared.settings import MAX_LAKE_RETENTION_DAYS
from taxi_shared.tables import Column, Table

if TYPE_CHECKING:
    from deltalake import DeltaTable, Schema
    from deltalake.transaction import AddAction

CONFIGURATION = {
    # With more commits between two checkpoints, opening a log takes longer.
    "delta.checkpointInterval": "10",
    # How far the history goes back.
    "delta.logRetentionDuration": "interval 365 days",
    # How long checkpoints name replaced files. Vacuum judges a file that the log no longer names by
    # its own age, so this is the longest retention. The format's default is a week.
    "delta.deletedFileRetentionDuration": f"interval {MAX_LAKE_RETENTION_DAYS} days",
}
COMMIT_TRIES, LONGEST_WAIT_SECONDS = 30, 0.5

_TYPES = {
    "INTEGER": "integer",
    "BIGINT": "long",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class DamagedLog(Exception):
    """The log of a table cannot be read. The message says what to do."""


class CommitConflict(Exception):
    """Other writers committed first at every try; nothing was changed."""


@dataclass(frozen=True)
class LakeFile:
    """A file of a table.

    folder:    of the table
    name:      its path below the folder
    partition: as in `2023-03-01`; empty where the table has none
    size:      in bytes; None where the log does not say it
    modified:  when it was written
    rows:      their number; None where the log does not say it
    """

    folder: UPath
    name: str
    partition: str
    size: int | None
    modified: datetime
    rows: int | None = None

    @property
    def path(self) -> UPath:
        """Where it is."""
        return self.folder / self.name

    @property
    def address(self) -> str:
        """The same as text: a UPath for each of 200 files takes longer than reading the log."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Commit:
    """A commit of a log.

    operation: as the format names it: WRITE, CREATE TABLE, VACUUM END, …
    details:   what its writer says about it, such as `source` and `run`
    """

    version: int
    time: datetime
    operation: str
    details: Mapping[str, str]


@dataclass(frozen=True)
class TableLog:
    """The log of a table in its folder."""

    folder: UPath
    table: Table

    def files(self, version: int | None = None) -> dict[str, LakeFile]:
        """Map partitions to their files, now or as of a version; sorted.

        A table that was written before it had a log has the files of its folder. Raises ValueError
        for a version that the log does not have, StoreError.
        """
        log = self._open(version)
        if log is None:
            return {} if version is not None else self._files_without_log()
        actions = log.get_add_actions(flatten=True)
        by = f"partition.{self._partition_column}"
        names = ("path", by, "size_bytes", "modification_time", "num_records")
        # A log has statistics of each column of the table too, which take longer than the rest.
        columns = (
            actions[name].to_pylist() if name in actions.column_names else [None] * actions.num_rows
            for name in names
        )
        found = [
            LakeFile(self.folder, name, str(partition or ""), size, _from_ms(modified), rows)
            for name, partition, size, modified, rows in zip(*columns, strict=True)
        ]
        return {file.partition: file for file in sorted(found, key=lambda file: file.partition)}

    def commit(self, file: LakeFile, details: Mapping[str, str]) -> int:
        """Make a file the only one of its partition; return the version of the commit.

        A table without a log gets one, which begins with the files of its folder. Raises
        CommitConflict, StoreError.
        """
        from deltalake import CommitProperties
        from deltalake.exceptions import CommitFailedError

        by = [self._partition_column] if self._partition_column else []
        for attempt in range(COMMIT_TRIES):
            log = self._open()
            if log is None:
                self._create()
                continue
            try:
                with self._errors_explained():
                    self._configure(log)
                    log.create_write_transaction(
                        [self._add(file)],
                        "overwrite",
                        self._schema(log.schema()),
                        by,
                        [(name, "=", file.partition) for name in by] or None,
                        # The library's own retry adds to a partition that another writer has just
                        # created, instead of replacing it.
                        commit_properties=CommitProperties(dict(details), max_commit_retries=0),
                    )
            except CommitFailedError:
                wait = min(LONGEST_WAIT_SECONDS, 0.02 * 2**attempt)
                time.sleep(random.uniform(0, wait))  # noqa: S311 - writers should not retry at once
                continue
            self._persist(log.version() + 1)
            return int(log.version()) + 1
        raise CommitConflict(
            f"{self.folder}: other writers committed first at each of {COMMIT_TRIES} tries; "
            "nothing was changed, run it again"
        )

    def history(self) -> list[Commit]:
        """Return the commits, newest first; none for a table without a log."""
        log = self._open()
        own = {"operation", "engineInfo", "clientVersion"}  # texts of the library
        return [
            Commit(
                version=each["version"],
                time=_from_ms(each["timestamp"]),
                operation=each["operation"],
                details={
                    name: value
                    for name, value in each.items()
                    if isinstance(value, str) and name not in own
                },
            )
            for each in (log.history() if log else [])
        ]

    def vacuum(self, retention: timedelta) -> list[str]:
        """Remove files that no version within the retention has; return their paths.

        Files that were never committed, as of a killed process, are removed too once they are that
        old.
        """
        log = self._open()
        if log is None:
            return []
        hours = int(retention.total_seconds() // 3600)
        with self._errors_explained():
            self._configure(log)
            return list(
                log.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
            )

    @property
    def _partition_column(self) -> str:
        return self.table.partition_by.name if self.table.partition_by else ""

    def _open(self, version: int | None = None) -> "DeltaTable | None":
        """Open the log; None for a table without one."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            with self._errors_explained():
                return DeltaTable(stores.url(self.folder), version, self._options())
        except TableNotFoundError:
            return None
        except DeltaError as error:
            if self._remove_torn():
                return self._open(version)
            current = self._open() if version is not None else None
            newest = current.version() if current else -1
            if version is None or version <= newest:
                raise DamagedLog(
                    f"{self.folder}/_delta_log cannot be read ({_first_line(error)}): put it back "
                    f"from a backup, or move {self.folder} away and materialize its partitions"
                ) from error
            raise ValueError(
                f"{self.folder} has no version {version}; expected 0 to {newest}"
            ) from None

    def _remove_torn(self) -> list[UPath]:
        """Remove the last commit, and checkpoints, that a loss of power has left without content.

        The load of that commit had not ended, and a checkpoint repeats what commits say. Other
        processes see new files of the log with their content only.
        """
        if not storage.is_local(self.folder):
            return []
        log = self.folder / "_delta_log"
        files = list(storage.entries_below(log))
        earlier = sorted(path for path in files if path.suffix == ".json")[:-1]
        torn = [
            path
            for path in files
            if path not in earlier and not storage.read_bytes(path).strip(b"\0")
        ]
        if torn:
            storage.remove(log / "_last_checkpoint")  # which may name one of them
        for path in torn:
            storage.remove(path)
        return torn

    def _create(self) -> None:
        """Begin a log with the files of the folder, unless another writer has begun one."""
        from deltalake import CommitProperties
        from deltalake.exceptions import CommitFailedError
        from deltalake.transaction import create_table_with_add_actions

        storage.make_parent(self.folder / "_delta_log")
        try:
            with self._errors_explained():
                create_table_with_add_actions(
                    stores.url(self.folder),
                    self._schema(),
                    [self._add(file) for file in self._files_without_log().values()],
                    "ignore",
                    [self._partition_column] if self._partition_column else [],
                    configuration=CONFIGURATION,
                    storage_options=self._options(),
                    # With a retry, a second writer would add the files of the folder once more.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
        except CommitFailedError:
            return  # the other writer was faster
        self._persist(0)

    def _configure(self, log: "DeltaTable") -> None:
        """Set the properties that an earlier release has not set, with a commit.

        Raises CommitFailedError if another writer commits first.
        """
        current = log.metadata().configuration
        if missing := {k: v for k, v in CONFIGURATION.items() if current.get(k) != v}:
            log.alter.set_table_properties(missing)
            self._persist(log.version())

    def _files_without_log(self) -> dict[str, LakeFile]:
        """The files of a table that was written before it had a log: one name in each folder."""
        found = {}
        start = len(str(self.folder)) + 1
        for path, entry in storage.entries_below(self.folder).items():
            name = str(path)[start:]
            partition = name.partition("/")[0].partition("=")[2]
            prefix = f"{self._partition_column}={partition}/" if self._partition_column else ""
            if name == f"{prefix}{self.table.name}.parquet":
                modified = storage.modified_at(entry)
                found[partition] = LakeFile(self.folder, name, partition, entry["size"], modified)
        if days := self.table.days:
            # A process that died while it replaced the month's two files has left one of them.
            complete = TableLog(self.folder.parent / days.name, days)._files_without_log()
            return {partition: found[partition] for partition in found if partition in complete}
        return found

    def _add(self, file: LakeFile) -> "AddAction":
        from deltalake.transaction import AddAction

        return AddAction(
            file.name,
            file.path.stat().st_size if file.size is None else file.size,
            {self._partition_column: file.partition} if self._partition_column else {},
            int(file.modified.timestamp() * 1000),
            data_change=True,
            stats=json.dumps({} if file.rows is None else {"numRecords": file.rows}),
        )

    def _schema(self, existing: "Schema | None" = None) -> "Schema":
        """The columns of the table and of its log: an older writer must not drop a column."""
        from deltalake import Field, Schema

        fields = {field.name: field for field in existing.fields} if existing else {}
        described = {c.name: Field(c.name, _delta_type(c)) for c in self.table.all_columns}
        return Schema(list({**fields, **described}.values()))

    def _options(self) -> dict[str, str] | None:
        store = stores.store_of(self.folder)
        return store.delta_options(self.folder) if store else None

    def _persist(self, version: int) -> None:
        """Have a local file system write a commit, and its checkpoint, to its disk."""
        log = self.folder / "_delta_log"
        storage.persist(log / f"{version:020}.json")
        for name in (f"{version:020}.checkpoint.parquet", "_last_checkpoint"):
            if storage.is_local(log) and (log / name).exists():
                storage.persist(log / name)

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        """Raise errors of a store as a StoreError; the library's own say little of their cause."""
        try:
            yield
        except OSError as error:
            if (store := stores.store_of(self.folder)) is None:
                raise
            store.check(self.folder)
            text = " ".join(_COLOURS.sub("", str(error)).split())
            raise store.ERROR(f"{self.folder}: {text}") from None


def _delta_type(column: Column) -> Any:
    from deltalake.schema import PrimitiveType

    return PrimitiveType(_TYPES.get(column.type) or column.type.lower().replace(" ", ""))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
