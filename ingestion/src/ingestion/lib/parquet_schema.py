"""The columns of a Parquet file from outside, and what is wrong where it cannot be read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import duckdb
from upath import UPath

from taxi_shared.storage import literal

# Without hive_partitioning, a folder named `VendorID=7` would be read as a column of the file.
RAW_FILE = "read_parquet($file, hive_partitioning = false) AS file"
NUMBERED_FILE = "read_parquet($file, hive_partitioning = false, file_row_number = true) AS file"
NO_VALUES = "NULL"


class LayoutError(Exception):
    """A file does not have the columns that its month must have."""


class DamagedFile(LayoutError):
    """A file cannot be parsed as Parquet; fetching it again may help."""


@dataclass(frozen=True)
class FileColumn:
    """A column of a Parquet file.

    name:     as the file has it
    sql_name: as DuckDB has it, which adds `_1` to a name that differs from another by case only
    type:     its DuckDB type; NO_VALUES for Arrow's null type
    """

    name: str
    sql_name: str
    type: str

    @property
    def sql(self) -> str:
        """Its value in a query of RAW_FILE."""
        return f'file."{self.sql_name}"'

    @property
    def base_type(self) -> str:
        """The type without its parameters."""
        return base_type(self.type)


def base_type(sql_type: str) -> str:
    """A type without its parameters: DECIMAL of `DECIMAL(12,2)`; a list keeps them."""
    return sql_type if sql_type.endswith("]") else sql_type.partition("(")[0]


def read_schema(con: duckdb.DuckDBPyConnection, file: UPath | str) -> tuple[FileColumn, ...]:
    """The columns of a Parquet file.

    Raises DamagedFile where the file cannot be parsed, LayoutError where it is encrypted or cannot
    be opened.
    """
    path = {"file": literal(file)}
    try:
        described = con.execute(f"DESCRIBE FROM {RAW_FILE}", path).fetchall()
        nodes = con.execute(
            "SELECT name, num_children, logical_type FROM parquet_schema($file)", path
        ).fetchall()
    except duckdb.Error as error:
        raise _cannot_be_opened(file, error) from error
    if _has_encrypted_columns(con, path):
        raise LayoutError(f"{file} is encrypted: expected a Parquet file without encryption")
    return tuple(
        FileColumn(name, sql_name, NO_VALUES if logical_type == "NullType()" else sql_type)
        for (name, logical_type), (sql_name, sql_type, *_) in zip(
            _top_level(nodes), described, strict=True
        )
    )


def is_damage(error: duckdb.Error) -> bool:
    """Whether an error of reading a Parquet file means that its content is damaged.

    For most of what is wrong inside a file, DuckDB raises its base class.
    """
    return type(error) in (
        duckdb.Error,
        duckdb.InvalidInputException,
    ) or "Could not read enough bytes" in str(error)


def first_line(error: duckdb.Error) -> str:
    """DuckDB's message without the statement that it adds."""
    return str(error).partition("\n")[0]


def _cannot_be_opened(file: UPath | str, error: duckdb.Error) -> LayoutError:
    message = first_line(error)
    if "is encrypted" in message:
        return LayoutError(f"{file} is encrypted: expected a Parquet file without encryption")
    if "too small" in message:
        size = UPath(file).stat().st_size
        return DamagedFile(f"{file} is not a whole Parquet file: it has {size} bytes")
    if is_damage(error):
        return DamagedFile(f"{file} is damaged: {message}")
    return LayoutError(f"{file} cannot be read: {message}")


def _has_encrypted_columns(con: duckdb.DuckDBPyConnection, path: Mapping[str, str]) -> bool:
    try:
        found = con.execute(
            "SELECT encryption_algorithm FROM parquet_file_metadata($file)", path
        ).fetchall()
    except duckdb.InvalidInputException:  # DuckDB shows the algorithm's random bytes as text
        return True
    return found[0][0] is not None


def _top_level(nodes: Iterable[tuple[str, int | None, str | None]]) -> Iterator[tuple[str, str]]:
    """Names and logical types of a file's columns, from a schema in depth-first order."""
    inside = 0
    for name, num_children, logical_type in islice(nodes, 1, None):
        if inside:
            inside -= 1
        else:
            yield name, logical_type or ""
        inside += num_children or 0
