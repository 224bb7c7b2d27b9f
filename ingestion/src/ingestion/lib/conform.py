"""Map the columns of TLC's files to the canonical columns of the lake, as SQL.

The SQL follows from the descriptions in `taxi_shared.tables` and the schema of a file, so that
every physical type that TLC has used for a column is read the same way. All names in it are our
own: a column of a file is in it only if `taxi_shared.tables` describes one of that name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
from upath import UPath

from ingestion.lib.parquet_schema import (
    NO_VALUES,
    NUMBERED_FILE,
    RAW_FILE,
    DamagedFile,
    FileColumn,
    LayoutError,
    base_type,
    first_line,
    is_damage,
    read_schema,
)
from ingestion.lib.placement import JOIN, Placement
from taxi_shared.storage import literal
from taxi_shared.tables import (
    LOSSES,
    NAN_VALUES,
    ROUNDED_VALUES,
    UNUSABLE_TIMES,
    UTC_OFFSETS,
    Column,
    Table,
)

STRAY_COLUMNS = frozenset({"__index_level_0__"})  # left by pandas in 2010-02 and 2010-03

_INTEGERS = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_FRACTIONS = _FLOATS | {"DECIMAL", "VARCHAR"}
_NUMBERS = _INTEGERS | _FLOATS | {"DECIMAL"}
_READABLE_AS: Mapping[str, frozenset[str]] = {
    "INTEGER": _NUMBERS | {"VARCHAR"},
    "DECIMAL": _NUMBERS,
    "DOUBLE": _NUMBERS,
    "TIMESTAMP": frozenset({"TIMESTAMP", "TIMESTAMP_NS", "VARCHAR"}),
    "VARCHAR": _NUMBERS | {"VARCHAR"},
}
# Python, pandas and most engines have no other years. DuckDB compares the smallest of all 64-bit
# times, which is NaT written without a null mask, but raises an error where it converts it.
_USABLE_TIMES = "BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
_LENGTH_OF_TIME = len("2009-06-07 23:59:59")
_UTC_OFFSET = r":\d+(\.\d+)?\s*(Z|UTC|[+-]\d+(:\d+)*)\s*$"


class ValueNotReadable(Exception):
    """A value in a file does not fit its column."""


@dataclass(frozen=True)
class ColumnMapping:
    """How a column is read: from which of the file's columns, by which SQL.

    Several `sources` have names that differ by case only; a row's value is that of any of them.
    """

    column: Column
    sources: tuple[FileColumn, ...]
    expression: str


@dataclass(frozen=True)
class Loss:
    """What reading a column may lose.

    column:    the column that is read
    kind:      what is lost, by the column of a table of days that counts it
    condition: SQL that is true for the rows that lose it
    """

    column: Column
    kind: Column
    condition: str

    @property
    def leaves_null(self) -> bool:
        """Whether a value that is lost is NULL in the lake."""
        return self.kind in (NAN_VALUES, UNUSABLE_TIMES)


@dataclass(frozen=True)
class ReadPlan:
    """How to read the file of a month as rows of a table.

    table:           the table of the lake
    file:            its path
    mappings:        the columns in the table's order, except derived ones
    placements:      the columns among them that follow from the file's points
    derived:         the columns that are computed from others
    unknown_columns: the file's columns that `taxi_shared.tables` does not describe
    """

    table: Table
    file: UPath | str
    mappings: tuple[ColumnMapping, ...]
    placements: tuple[Placement, ...]
    derived: tuple[Column, ...]
    unknown_columns: tuple[str, ...]

    @property
    def query(self) -> str:
        """The table's rows in the file, which is the parameter `$file`.

        For a file of March 2023, shortened to three columns (line breaks added):

            SELECT *, CAST(CAST(pickup_datetime AS DATE) AS DATE) AS pickup_date
            FROM (SELECT CAST(file."VendorID" AS INTEGER) AS vendor_id,
                         CASE WHEN CAST(file."tpep_pickup_datetime" AS TIMESTAMP) BETWEEN …
                              THEN CAST(file."tpep_pickup_datetime" AS TIMESTAMP) END
                         AS pickup_datetime
                  FROM read_parquet($file, hive_partitioning = false) AS file)

        With placements, it joins the view `placed`, which must be there: see `placement.place`.
        """
        source = f"{NUMBERED_FILE} {JOIN}" if self.placements else RAW_FILE
        derived = ", ".join(f"{_derived(column)} AS {column.name}" for column in self.derived)
        rows = f"SELECT {_columns(self.mappings)} FROM {source}"  # noqa: S608 - our names
        return f"SELECT *, {derived} FROM ({rows})"  # noqa: S608 - our names

    @property
    def points(self) -> str:
        """The points of the rows from number `$first` to before `$end`, for `placement.place`."""
        names = {name for p in self.placements for name in (p.longitude, p.latitude)}
        return (
            "SELECT "  # noqa: S608 - our names
            f"{_columns(m for m in self.mappings if m.column.name in names)} "
            f"FROM {NUMBERED_FILE} "
            "WHERE file_row_number >= $first AND file_row_number < $end ORDER BY file_row_number"
        )

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What reading the file may lose."""
        return tuple(
            loss
            for mapping in self.mappings
            for source in mapping.sources
            for loss in _losses(mapping.column, source)
        )

    def lossy_trips(self, losses: Sequence[Loss]) -> str:
        """The trips with some of the losses: `pickup_date` and how many lose what, by LOSSES."""
        day = next(_derived(column) for column in self.derived if column.name == "pickup_date")
        counts = ", ".join(f"count_if({loss.name}) AS {loss.name}" for loss in LOSSES)
        flags = ", ".join(
            f"{any_of(each for each in losses if each.kind == loss)} AS {loss.name}"
            for loss in LOSSES
        )
        read = _columns(m for m in self.mappings if m.sources)
        losing = f"FROM {RAW_FILE} WHERE {any_of(losses)}"
        rows = f"SELECT {read}, {flags} {losing}"
        return f"SELECT {day} AS pickup_date, {counts} FROM ({rows}) GROUP BY ALL"  # noqa: S608 - our names


def plan_read(
    con: duckdb.DuckDBPyConnection, table: Table, file: UPath | str, month: str
) -> ReadPlan:
    """Plan how to read the file of a month (`2023-03`) as rows of a table.

    Raises LayoutError naming file, column, expected and found; DamagedFile as `read_schema` does.
    """
    schema = _FileSchema(str(file), read_schema(con, file))
    sources = {
        column.name: schema.sources(column, month)
        for column in table.columns
        if not column.expression
    }
    placements = {
        column.name: Placement(column.name, *column.coordinates)
        for column in table.columns
        if column.coordinates
        and not sources[column.name]
        and all(map(sources.get, column.coordinates))
    }
    mappings = tuple(
        ColumnMapping(
            column,
            sources[column.name],
            f"CAST({placements[column.name].zone_id} AS {column.type})"
            if column.name in placements
            else _expression(column, sources[column.name]),
        )
        for column in table.columns
        if not column.expression
    )
    known = {source.sql_name for found in sources.values() for source in found}
    return ReadPlan(
        table,
        file,
        mappings,
        tuple(placements.values()),
        derived=tuple(column for column in table.columns if column.expression),
        unknown_columns=tuple(
            sorted(
                each.name
                for each in schema.columns
                if each.sql_name not in known and each.name not in STRAY_COLUMNS
            )
        ),
    )


def first_unreadable(con: duckdb.DuckDBPyConnection, plan: ReadPlan) -> Exception | None:
    """Why a file could not be loaded: its first column with a value that does not fit, if any."""
    file = plan.file
    for mapping in plan.mappings:
        for source in mapping.sources:
            where = f"{file}: column {source.name}"
            try:
                found = _first_row(con, file, _does_not_fit(mapping.column, source), source.sql)
            except duckdb.ConversionException as error:  # by DuckDB's reader, which names no row
                return ValueNotReadable(f"{where} cannot be read: {first_line(error)}")
            except duckdb.Error as error:
                if is_damage(error):
                    return DamagedFile(f"{where} is damaged: {first_line(error)}")
                raise
            if found:
                row, count, value = found
                shown = repr(value) if source.base_type == "VARCHAR" else value
                return ValueNotReadable(
                    f"{where}, row {row} (the first row is 1): {shown} does not fit "
                    f"{mapping.column.name} {mapping.column.type}; {count:,} of its values do not"
                )
        if len(mapping.sources) > 1 and (found := _first_row(con, file, *_conflict(mapping))):
            row, count, value = found
            names = " and ".join(source.name for source in mapping.sources)
            return ValueNotReadable(
                f"{file}: columns {names}, row {row} (the first row is 1): {value} are two values "
                f"of {mapping.column.name}, expected one; the columns differ in {count:,} rows"
            )
    return None


@dataclass(frozen=True)
class _FileSchema:
    """The columns of a file, with its path for messages."""

    file: str
    columns: tuple[FileColumn, ...]

    def sources(self, column: Column, month: str) -> tuple[FileColumn, ...]:
        """The file's columns that a column of the lake is read from; raises LayoutError."""
        by_name: dict[str, list[FileColumn]] = {}
        for each in self.columns:
            by_name.setdefault(each.name.lower(), []).append(each)
        sources = next((by_name[n.lower()] for n in column.sources if n.lower() in by_name), [])
        if not sources and column.is_published_in(month):
            raise LayoutError(
                f"{self.file} has no column for {column.name}: expected one of "
                f"{', '.join(column.sources)}; found "
                f"{', '.join(sorted(each.name for each in self.columns))}"
            )
        self._check_types(column, sources)
        return tuple(sources)

    def _check_types(self, column: Column, sources: Sequence[FileColumn]) -> None:
        """Raise LayoutError for a type that the column of the lake cannot be read from."""
        if column.type == "TIMESTAMP" and {source.type for source in sources} == {NO_VALUES}:
            raise LayoutError(
                f"{self.file}: column {sources[0].name} has no values; expected times for "
                f"{column.name}"
            )
        readable = _READABLE_AS[base_type(column.type)]
        for source in sources:
            if source.type != NO_VALUES and source.base_type not in readable:
                raise LayoutError(
                    f"{self.file}: column {source.name} cannot be read as {column.name} "
                    f"{column.type}: expected one of the types {', '.join(sorted(readable))}; "
                    f"found {source.type}"
                )


def _columns(mappings: Iterable[ColumnMapping]) -> str:
    return ", ".join(f"{m.expression} AS {m.column.name}" for m in mappings)


def _derived(column: Column) -> str:
    return f"CAST({column.expression} AS {column.type})"


def _expression(column: Column, sources: Sequence[FileColumn]) -> str:
    values = [_usable(column, source) for source in sources if source.type != NO_VALUES]
    if not values:
        return f"CAST(NULL AS {column.type})"
    if len(values) == 1:
        return values[0]
    return (
        f"CASE WHEN {_differ(values)} THEN error('values differ') "
        f"ELSE coalesce({', '.join(values)}) END"
    )


def _usable(column: Column, source: FileColumn) -> str:
    """The value of a column, NULL for a time that is not usable."""
    value = _cast(column, source)
    if column.type == "TIMESTAMP":
        return f"CASE WHEN {value} {_USABLE_TIMES} THEN {value} END"
    return value


def _cast(column: Column, source: FileColumn) -> str:
    return f"CAST({_value(column, source)} AS {column.type})"


def _value(column: Column, source: FileColumn) -> str:
    """The value in the file, with texts translated to codes; NULL for blanks and NaN."""
    value = _given(source)
    if source.base_type in _FLOATS:
        # Not by comparing with NaN, which DuckDB leaves out by the file's statistics.
        value = f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"
    if source.base_type == "TIMESTAMP_NS":
        infinity = "CAST('infinity' AS TIMESTAMP_NS)", "CAST('-infinity' AS TIMESTAMP_NS)"
        value = f"CASE WHEN {value} < {infinity[0]} AND {value} > {infinity[1]} THEN {value} END"
    if column.codes and "VARCHAR" in (source.base_type, column.type):
        # Functions alone are evaluated once per value of a dictionary, and CASE for each row.
        is_text = source.base_type == "VARCHAR"
        text = f"UPPER(TRIM({source.sql}))" if is_text else f"UPPER(CAST({value} AS VARCHAR))"
        cases = " ".join(f"WHEN '{name}' THEN '{code}'" for name, code in column.codes.items())
        value = f"CASE {text} WHEN '' THEN NULL {cases} ELSE {text} END"
    return value


def _given(source: FileColumn) -> str:
    return f"NULLIF(TRIM({source.sql}), '')" if source.base_type == "VARCHAR" else source.sql


def _losses(column: Column, source: FileColumn) -> Iterator[Loss]:
    value = source.sql
    if source.base_type in _FLOATS:
        yield Loss(column, NAN_VALUES, f"isnan({value})")
    if column.type == "TIMESTAMP":
        usable = _usable(column, source)
        yield Loss(column, UNUSABLE_TIMES, f"{_given(source)} IS NOT NULL AND {usable} IS NULL")
    # Matching or casting all texts would take five times as long as the rest of the condition. CASE
    # spares it; AND does not, DuckDB evaluates both its sides.
    if column.type == "TIMESTAMP" and source.base_type == "VARCHAR":
        yield Loss(
            column,
            UTC_OFFSETS,
            f"CASE WHEN strlen({value}) <> {_LENGTH_OF_TIME} "
            f"THEN regexp_matches({value}, '{_UTC_OFFSET}') END",
        )
    if column.type == "INTEGER" and source.base_type in _FRACTIONS:
        number = f"TRY_CAST({value} AS DOUBLE)"
        is_rounded = f"{number} <> trunc({number})"
        if source.base_type == "VARCHAR":
            may_be = f"contains({value}, '.') OR contains({value}, '-')"  # 1.5, 15e-1
            is_rounded = f"CASE WHEN {may_be} THEN {is_rounded} END"
        yield Loss(column, ROUNDED_VALUES, is_rounded)


def any_of(losses: Iterable[Loss]) -> str:
    """The condition of rows with at least one of some losses, as SQL."""
    return " OR ".join(f"({loss.condition})" for loss in losses) or "false"


def _does_not_fit(column: Column, source: FileColumn) -> str:
    return f"{_value(column, source)} IS NOT NULL AND TRY({_cast(column, source)}) IS NULL"


def _conflict(mapping: ColumnMapping) -> tuple[str, str]:
    """The condition of rows in which a mapping's sources differ, and their values as text."""
    values = [_usable(mapping.column, s) for s in mapping.sources if s.type != NO_VALUES]
    return _differ(values), f"concat_ws(' and ', {', '.join(values)})"


def _differ(values: Iterable[str]) -> str:
    return f"len(list_distinct([{', '.join(values)}])) > 1"


def _first_row(
    con: duckdb.DuckDBPyConnection, file: UPath | str, condition: str, value: str
) -> tuple[int, int, str] | None:
    """The number of the first row that meets a condition, how many rows do, and its value.

    The value is at most 100 characters of its text.
    """
    rows = f"SELECT file_row_number + 1 AS row, {condition} AS is_met, {value} AS value"
    ((row, count, found),) = con.execute(
        "SELECT min(row), count(*), left(CAST(arg_min(value, row) AS VARCHAR), 100) "  # noqa: S608 - our names
        f"FROM ({rows} FROM {NUMBERED_FILE}) WHERE is_met",
        {"file": literal(file)},
    ).fetchall()
    return (row, count, found) if count else None
