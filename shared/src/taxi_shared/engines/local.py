"""DuckDB in the process of the run: the default engine."""

import dagster as dg
import duckdb

from taxi_shared.engines import Answer, Engine, Question, Row


class DuckDB(Engine):
    """Answers with the `database` resource."""

    stores = Engine.stores | {""}

    def ask(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer a question. Raises NoAnswer, DamagedLakeFile and duckdb.Error."""
        dates, tables = question.days, question.tables
        with self.database.get_connection(dates, tables, snapshot=question.lake) as con:
            found = con.execute(question.sql, question.parameters)
            columns = [name for name, *_ in found.description or ()]
            rows = question.rows(columns, found.fetchall())
        return Answer(rows, {"engine": f"DuckDB {duckdb.__version__}"})
