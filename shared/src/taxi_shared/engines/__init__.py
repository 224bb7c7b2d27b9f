"""Engines that compute metrics: DuckDB in the run's process, Spark and warehouses outside it.

An asset asks a `Question`, and an `Engine` answers with typed rows, which are the same whichever
engine it is. `TAXI_ENGINE` chooses it, see `choice`; docs/engines.md says which engine is for what.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_type_hints

import dagster as dg
import duckdb
from pydantic import AfterValidator, TypeAdapter, ValidationError

from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Snapshot
from taxi_shared.run_config import SetByEnvironment
from taxi_shared.table_log import LakeFile
from taxi_shared.tables import Table

MAX_ROWS = 10_000
"""Of an answer: it is a result, which fits in a message, and no table."""

Parameter = str | date
Row = TypeVar("Row", bound=tuple[Any, ...])

# What a query can hold: a string or a comment, which may look like parameters; or a parameter.
_PARAMETERS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\$([A-Za-z_]\w*)")


class NoAnswer(Exception):
    """An engine did not answer a question, or with something else than what was asked."""


def _with_two_places(value: Decimal) -> Decimal:
    cents = value.quantize(Decimal("0.01"))
    if cents != value:
        raise ValueError("expected at most two decimal places")
    return cents


Hundredths = Annotated[Decimal, AfterValidator(_with_two_places)]
"""An exact amount with two places: dollars, or miles. Some engines leave out zeros at the end."""


@dataclass(frozen=True)
class Question(Generic[Row]):
    """A query over tables of the lake.

    name:       of the asset that asks
    sql:        the query, with named parameters such as `$start_date`
    row:        a NamedTuple: the names and types of the columns of the answer
    lake:       the moment of the lake
    tables:     that the query needs
    parameters: their values, by name
    days:       the first day, and the day after the last: files of trips and of their days that
                do not count for these days need not be read
    """

    name: str
    sql: str
    row: type[Row]
    lake: Snapshot
    tables: Sequence[Table]
    parameters: Mapping[str, Parameter]
    days: tuple[date, date] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the answer's columns."""
        return tuple(get_type_hints(self.row))

    def rewrite(self, placeholder: Callable[[str], str]) -> tuple[str, list[Parameter]]:
        """The query in the style of an engine, and the values in the order of its placeholders.

        placeholder: how the engine writes a parameter of a name, such as `?` or `:name`
        """
        values: list[Parameter] = []

        def replace(found: re.Match[str]) -> str:
            if (name := found[1]) is None:
                return "" if found[0].startswith("--") else found[0]
            values.append(self.parameters[name])
            return placeholder(name)

        return _PARAMETERS.sub(replace, self.sql).strip(), values

    def files(self, con: duckdb.DuckDBPyConnection) -> list[tuple[Table, list[LakeFile]]]:
        """The tables, and the files of each that the query needs to read."""
        return [(table, self.lake.files_on(con, table, self.days)) for table in self.tables]

    def rows(self, columns: Sequence[str], values: Iterable[Sequence[object]]) -> list[Row]:
        """The rows of an answer; its values may be text. Raises NoAnswer for other columns.

        columns: the names of the columns of `values`, in upper or lower case
        """
        if (found := tuple(column.lower() for column in columns)) != self.columns:
            raise NoAnswer(
                f"{self.name}: the columns of the answer are {', '.join(found) or 'missing'}; "
                f"expected {', '.join(self.columns)}"
            )
        rows = [tuple(row) for row in values]
        if len(rows) > MAX_ROWS:
            raise NoAnswer(f"{self.name}: the answer has over {MAX_ROWS:,} rows")
        if any(isinstance(value, float) for row in rows for value in row):
            raise NoAnswer(f"{self.name}: the answer has floating-point numbers; cast to DECIMAL")
        try:
            return TypeAdapter(list[self.row]).validate_python(rows)  # type: ignore[name-defined]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            row, column = first["loc"][:2]
            raise NoAnswer(
                f"{self.name}: row {int(row) + 1} of the answer, {self.columns[int(column)]}: "
                f"{first['msg']}"
            ) from None


@dataclass(frozen=True)
class Answer(Generic[Row]):
    """The rows that answer a question.

    details: metadata for the asset's page: which engine answered, and where its job can be seen
    """

    rows: list[Row]
    details: Mapping[str, dg.MetadataValue | str] = field(default_factory=dict)


class Engine(SetByEnvironment, dg.ConfigurableResource[Any], ABC):
    """Answers questions about the lake."""

    # The stores whose data roots it reads, by their modules, and "" for a folder of this machine.
    # `engine` of `choice` refuses others.
    stores: ClassVar[frozenset[str]] = frozenset({"s3", "gcs", "azure"})
    database: dg.ResourceDependency[LakeDatabase]

    @classmethod
    def kind(cls) -> str:
        """Return the kind of the assets that it answers, which the UI shows."""
        return cls.__name__.lower()

    @abstractmethod
    def ask(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer a question.

        When the run is cancelled, so is the work elsewhere. Raises NoAnswer, and the engine's own
        errors.
        """


@contextmanager
def cancelled_on_error(
    context: dg.AssetExecutionContext, cancel: Callable[[], object]
) -> Iterator[None]:
    """Cancel work elsewhere when the block raises anything, also when the run is cancelled."""
    try:
        yield
    except BaseException:
        try:
            cancel()
        except Exception as error:  # the first error matters more
            context.log.warning(f"The work could not be cancelled ({error}); it may still run.")
        raise
