"""Warehouses that read the lake by external tables: Snowflake, BigQuery and Redshift.

Each has a driver of its vendor that follows DB-API 2.0, in an extra of taxi-shared of its name.
No setting holds a key or password: the drivers find credentials as their vendors document.
"""

import random
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from taxi_shared.engines import MAX_ROWS, Answer, NoAnswer, Question, Row, cancelled_on_error
from taxi_shared.engines.catalog import CatalogEngine
from taxi_shared.engines.external_tables import (
    DATABASE,
    add_partitions,
    manifests_stayed,
    write_manifests,
)

# How often Redshift is asked while other questions replace its manifests.
TRIES = 3

Rows = Sequence[Sequence[object]]
Details = Mapping[str, dg.MetadataValue | str]


class Warehouse(CatalogEngine):
    """Answers by a driver that follows DB-API 2.0."""

    @abstractmethod
    def connect(self) -> Any:
        """Open a connection of the driver."""

    @abstractmethod
    def run_query(
        self, context: dg.AssetExecutionContext, cursor: Any, question: Question[Row]
    ) -> tuple[Rows, Details]:
        """Run the query of a question; return its rows, and where it ran.

        Any exception cancels the query in the warehouse.
        """

    def refresh(self, question: Question[Row]) -> list[str]:
        """Return SQL that makes the warehouse's tables show the lake as it is now."""
        return []

    def query(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Run the query. Raises NoAnswer, and the driver's errors with the warehouse's reason."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            for statement in self.refresh(question):
                cursor.execute(statement)
            rows, details = self.run_query(context, cursor, question)
            columns = [name for name, *_ in cursor.description or ()]
        return Answer(question.rows(columns, rows), {"engine": type(self).__name__, **details})


class Snowflake(Warehouse):
    """Answers with Iceberg tables of Snowflake over the lake's logs."""

    connection: str = Field(
        default="taxi",
        description="connection in Snowflake's connections.toml: account, user, key, warehouse, "
        "and the database and schema of the tables",
    )

    def connect(self) -> Any:
        """Open a connection."""
        import snowflake.connector

        return snowflake.connector.connect(
            connection_name=self.connection,
            # Closing the connection then ends the session, and queries that run apart from it.
            enable_server_session_keep_alive_auto_detection=False,
        )

    def refresh(self, question: Question[Row]) -> list[str]:
        """Return SQL that reads the logs again, which Snowflake does not do by itself."""
        return [f"ALTER ICEBERG TABLE {table.name} REFRESH" for table in question.tables]

    def run_query(
        self, context: dg.AssetExecutionContext, cursor: Any, question: Question[Row]
    ) -> tuple[Rows, Details]:
        """Run the query apart from the connection, so that it has an id to cancel it by."""
        query = cursor.execute_async(*in_pyformat(question))["queryId"]
        with cancelled_on_error(context, lambda: cursor.abort_query(query)):
            context.log.info(f"{question.name}: Snowflake has the query {query}")
            cursor.get_results_from_sfqid(query)
            rows = cursor.fetchmany(MAX_ROWS + 1)  # waits for the query
        return rows, {"query": query}


class BigQuery(Warehouse):
    """Answers with BigLake tables of BigQuery over the lake's logs."""

    dataset: str = Field(default=DATABASE, description="dataset of the tables")
    project: str = Field(
        default="", description="project that runs queries; by default that of the credentials"
    )
    location: str = Field(
        default="", description="region of the dataset, if it is not in the US or the EU"
    )

    def client(self) -> Any:
        """Return a client of the project."""
        from google.cloud import bigquery

        return bigquery.Client(project=self.project or None, location=self.location or None)

    def connect(self) -> Any:
        """Open a connection."""
        from google.cloud.bigquery import dbapi

        connect: Callable[..., Any] = dbapi.connect  # it has no types
        return connect(client=self.client(), prefer_bqstorage_client=False)

    def run_query(
        self, context: dg.AssetExecutionContext, cursor: Any, question: Question[Row]
    ) -> tuple[Rows, Details]:
        """Run the query as a job whose id is known before it starts."""
        from google.cloud.bigquery import QueryJobConfig

        job, client = f"taxi-{uuid.uuid4().hex}", self.client()
        config = QueryJobConfig(
            default_dataset=f"{client.project}.{self.dataset}", use_query_cache=False
        )
        with cancelled_on_error(
            context, lambda: client.cancel_job(job, location=self.location or None)
        ):
            context.log.info(f"{question.name}: BigQuery has the job {job}")
            cursor.execute(*in_pyformat(question), job_id=job, job_config=config)
            rows = cursor.fetchmany(MAX_ROWS + 1)
        ended = cursor.query_job
        return rows, {
            "query": dg.MetadataValue.url(
                f"https://console.cloud.google.com/bigquery?project={ended.project}"
                f"&j=bq:{ended.location}:{job}&page=queryresults"
            ),
            "bytes scanned": dg.MetadataValue.int(ended.total_bytes_processed or 0),
        }


class Redshift(Warehouse):
    """Answers with tables of Redshift Spectrum. AWS's keys log in, and no password.

    Manifests name the files to read: those of the question's moment, as with DuckDB and Spark.
    """

    stores = frozenset({"s3"})
    host: str = Field(description="endpoint of the cluster or the workgroup, without a port")
    dbname: str = Field(default="dev", description="database with the schema of the views")
    user: str = Field(default="", description="user of a cluster; empty for a workgroup")

    def connect(self) -> Any:
        """Open a connection. Partitions cannot be added within a transaction."""
        import redshift_connector

        connection = redshift_connector.connect(
            iam=True,
            host=self.host,
            database=self.dbname,
            db_user=self.user or None,
            # The driver finds the name of a workgroup in the endpoint, but not that of a cluster.
            cluster_identifier=self.host.partition(".")[0] if self.user else None,
        )
        connection.autocommit = True
        return connection

    def ask(self, context: dg.AssetExecutionContext, question: Question[Row]) -> Answer[Row]:
        """Answer a question, from the files that the lake had at its moment.

        Questions about other versions replace the manifests: then it is asked again. Raises
        NoAnswer when they have done so TRIES times.
        """
        lake = question.lake
        for _ in range(TRIES):
            begin = time.monotonic()
            versions = {table.name: write_manifests(lake, table) for table in question.tables}
            answer = self.query(context, question)
            if all(manifests_stayed(lake, each, versions[each.name]) for each in question.tables):
                return answer
            wait = random.uniform(0, time.monotonic() - begin)  # noqa: S311 - not both at once
            context.log.info(
                f"{question.name}: a question about another version of the lake has replaced the "
                f"manifests that Redshift reads; asking again in {wait:.0f} seconds"
            )
            time.sleep(wait)
        raise NoAnswer(
            f"{question.name}: questions about other versions of the lake have replaced the "
            f"manifests that Redshift reads {TRIES} times. Materialize it again when they have "
            "ended"
        )

    def refresh(self, question: Question[Row]) -> list[str]:
        """Return SQL that adds new partitions."""
        return [
            f"SET search_path TO {DATABASE}",
            "SET enable_result_cache_for_session TO off",
            *(sql for table in question.tables for sql in add_partitions(question.lake, table)),
        ]

    def run_query(
        self, context: dg.AssetExecutionContext, cursor: Any, question: Question[Row]
    ) -> tuple[Rows, Details]:
        """Run the query in a session that another one can cancel."""
        cursor.execute("SELECT pg_backend_pid()")
        ((session,),) = cursor.fetchall()
        # The driver leaves %% in strings, in its style for names, as it is.
        cursor.paramstyle = "qmark"
        with cancelled_on_error(context, lambda: self._cancel(int(session))):
            context.log.info(f"{question.name}: Redshift has the query in session {session}")
            cursor.execute(*question.rewrite(lambda _: "?"))
            rows = cursor.fetchmany(MAX_ROWS + 1)
        return rows, {"query": f"session {session}"}

    def _cancel(self, session: int) -> None:
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"CANCEL {session}")  # it takes no parameters


def in_pyformat(question: Question[Row]) -> tuple[str, dict[str, Any]]:
    """The query with parameters as `%(name)s`, any other % doubled, and their values."""
    escaped = replace(question, sql=question.sql.replace("%", "%%"))
    sql, _ = escaped.rewrite(lambda name: f"%({name})s")
    return sql, dict(question.parameters)
