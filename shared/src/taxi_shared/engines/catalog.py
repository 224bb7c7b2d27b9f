"""Engines that read the lake through a catalog: tables of a service that point to the lake's logs.

The service reads the current version of each table. `external_tables` makes the tables.
"""

from abc import abstractmethod
from collections.abc import Sequence

import dagster as dg

from taxi_shared.engines import Answer, Engine, NoAnswer, Question, Row
from taxi_shared.lake import Snapshot
from taxi_shared.tables import Table


class CatalogEngine(Engine):
    """Answers with tables of a service, which are always the current ones."""

    @abstractmethod
    def query(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer with the service's tables. Any exception cancels the query there."""

    def ask(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer a question. Raises NoAnswer for another version of the lake than the current one.

        The log has a warning if the tables change meanwhile: the answer may have the new files.
        """
        service = type(self).__name__
        if question.lake.as_of:
            table, version = question.lake.as_of
            raise NoAnswer(
                f"{question.name}: {service} reads the current version of {table.name}; expected "
                f"version {version}. Leave out trips_version, or set "
                f"TAXI_ENGINE={question.name}=duckdb"
            )
        before = _versions(question.lake, question.tables)  # read before the query starts
        answer = self.query(context, question)
        after = _versions(self.database.lake.snapshot(), question.tables)
        if changed := {f"{table} {partition}".strip() for table, partition, _ in before ^ after}:
            context.log.warning(
                f"{question.name}: {', '.join(sorted(changed))} changed while {service} "
                "computed the answer, which may be of either version. Materialize it again."
            )
        return answer


def _versions(lake: Snapshot, tables: Sequence[Table]) -> set[tuple[str, str, str]]:
    """The table, partition and version of each file."""
    return {
        (table.name, partition, version)
        for table in tables
        for partition, version in lake.versions(table).items()
    }
