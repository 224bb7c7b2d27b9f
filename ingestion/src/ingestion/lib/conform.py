"""TLC's column layouts into the canonical columns of the lake, as SQL.

The statement is made from the descriptions in `taxi_shared.tables` and the schema of the file at
hand, so that every physical type that TLC has used for a column is read the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from ingestion.lib.placement import Placement
from taxi_shared.tables import Column, Table

STRAY_COLUMNS = frozenset({"__index_level_0__"})  # left by pandas in 2010-02 and 2010-03

_INTEGERS = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
_NUMBERS = _INTEGERS | {"FLOAT", "DOUBLE", "DECIMAL"}
_READABLE_AS: Mapping[str, frozenset[str]] = {
    "INTEGER": _NUMBERS | {"VARCHAR"},
    "DECIMAL": _NUMBERS,
    "DOUBLE": _NUMBERS,
    "TIMESTAMP": frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "VARCHAR"}),
    "VARCHAR": _NUMBERS | {"VARCHAR"},
}


class LayoutError(Exception):
    """A file of TLC's does not have the columns that its month must have."""


class ValueNotReadable(Exception):
    """A value in a file of TLC's does not fit its column."""


@dataclass(frozen=True)
class Reading:
    """How a column is read: from which of the file's columns, by which SQL."""

    column: Column
    source: str | None
    expression: str


@dataclass(frozen=True)
class Conformed:
    """How to read a file.

    readings:        the columns in the table's order, but for those that follow from others
    placements:      the columns among them that the file's points tell
    derived:         the columns that follow from others
    unknown_columns: the file's columns that nobody has described
    """

    readings: tuple[Reading, ...]
    placements: tuple[Placement, ...]
    derived: tuple[Column, ...]
    unknown_columns: tuple[str, ...]

    @property
    def query(self) -> str:
        """The table's rows in the order of the file's, which is the parameter `$file`.

        Where there are placements, a view `placed` has to have their columns in the same order.
        """
        placed = " POSITIONAL JOIN placed" if self.placements else ""
        derived = ", ".join(f"CAST({c.formula} AS {c.type}) AS {c.name}" for c in self.derived)
        rows = f"SELECT {_columns(self.readings)} FROM read_parquet($file) AS file{placed}"
        return f"SELECT *, {derived} FROM ({rows})"

    @property
    def points(self) -> str:
        """The points of the rows from number `$first` to before `$end`, for `placement.place`."""
        names = {name for p in self.placements for name in (p.longitude, p.latitude)}
        return (
            f"SELECT {_columns(r for r in self.readings if r.column.name in names)} "
            "FROM read_parquet($file, file_row_number = true) AS file "
            "WHERE file_row_number >= $first AND file_row_number < $end"
        )


def conform(file: str, schema: Mapping[str, str], table: Table, month: str) -> Conformed:
    """How to read the file of a month (`2023-03`) as rows of `table`.

    `schema` is the file's columns and DuckDB types. Raises LayoutError naming file, column,
    expected and found.
    """
    sources = {
        column.name: _source(file, schema, column, month)
        for column in table.columns
        if not column.formula
    }
    placements = {
        column.name: Placement(column.name, *column.placed_by)
        for column in table.columns
        if column.placed_by and not sources[column.name] and all(map(sources.get, column.placed_by))
    }
    readings = tuple(
        Reading(
            column,
            sources[column.name],
            f"CAST(NULLIF(placed.{column.name}, 0) AS {column.type})"
            if column.name in placements
            else _expression(column, sources[column.name], schema),
        )
        for column in table.columns
        if not column.formula
    )
    return Conformed(
        readings,
        tuple(placements.values()),
        derived=tuple(column for column in table.columns if column.formula),
        unknown_columns=tuple(sorted(set(schema) - set(sources.values()) - STRAY_COLUMNS)),
    )


def _columns(readings: Iterable[Reading]) -> str:
    return ", ".join(f"{r.expression} AS {r.column.name}" for r in readings)


def first_unreadable(con: duckdb.DuckDBPyConnection, file: str, conformed: Conformed) -> str:
    """Why a file could not be read: its first column with a value that does not fit."""
    for reading in conformed.readings:
        if reading.source is None:
            continue
        found = con.execute(
            f'SELECT "{reading.source}", count(*) OVER () FROM read_parquet($file) AS file '
            f'WHERE TRY({reading.expression}) IS NULL AND "{reading.source}" IS NOT NULL '
            f"AND TRIM(CAST(\"{reading.source}\" AS VARCHAR)) NOT IN ('', 'nan') LIMIT 1",
            {"file": file},
        ).fetchone()
        if found:
            return (
                f"{file}: {found[1]} value(s) of column {reading.source} do not fit "
                f"{reading.column.name} {reading.column.type}, the first is {found[0]!r}"
            )
    return f"{file} cannot be read"


def schema_of(con: duckdb.DuckDBPyConnection, file: str) -> dict[str, str]:
    """The columns and DuckDB types of a Parquet file. Raises LayoutError if it cannot be read."""
    try:
        described = con.execute(
            "DESCRIBE SELECT * FROM read_parquet($file)", {"file": file}
        ).fetchall()
    except duckdb.Error as error:
        raise LayoutError(f"{file} cannot be read as Parquet: {error}") from error
    return {name: kind for name, kind, *_ in described}


def _source(file: str, schema: Mapping[str, str], column: Column, month: str) -> str | None:
    source = next((name for name in column.sources if name in schema), None)
    if source is None:
        if column.is_published_in(month):
            raise LayoutError(
                f"{file} has no column for {column.name}: expected one of "
                f"{', '.join(column.sources)}; found {', '.join(sorted(schema))}"
            )
        return None
    readable = _READABLE_AS[_kind(column.type)]
    if _kind(schema[source]) not in readable:
        raise LayoutError(
            f"{file}: column {source} cannot be read as {column.name} {column.type}: expected "
            f"one of the types {', '.join(sorted(readable))}; found {schema[source]}"
        )
    return source


def _expression(column: Column, source: str | None, schema: Mapping[str, str]) -> str:
    if source is None:
        return f"CAST(NULL AS {column.type})"
    value = f'file."{source}"'
    kind = _kind(schema[source])
    if kind in ("FLOAT", "DOUBLE"):
        value = f"NULLIF({value}, CAST('NaN' AS DOUBLE))"
    if kind == "VARCHAR":
        value = f"NULLIF(TRIM({value}), '')"
    if column.codes and (kind == "VARCHAR" or column.type == "VARCHAR"):
        text = f"UPPER(CAST({value} AS VARCHAR))"
        cases = " ".join(f"WHEN '{name}' THEN '{code}'" for name, code in column.codes.items())
        translated = f"CASE {text} {cases} ELSE {text} END"
        # What is a code already, as nearly all values since 2011, is spared the work on texts.
        known = ", ".join(f"'{code}'" for code in dict.fromkeys(column.codes.values()))
        text = f'CAST(file."{source}" AS VARCHAR)'
        value = f"CASE WHEN {text} IN ({known}) THEN {text} ELSE {translated} END"
    return f"CAST({value} AS {column.type})"


def _kind(sql_type: str) -> str:
    """A type without its parameters; that of a column of nothing but nulls is INTEGER."""
    kind = sql_type.partition("(")[0]
    return "INTEGER" if kind == '"NULL"' else kind
