"""Dagster Pipes by files below the data root: a job elsewhere reads its question, and answers.

    engines/<run id>-<random>/spark_job.py, dagster_pipes.zip, question.json, 1.json, 2.json, …

The run writes the first three, the job its messages, and the run removes the folder. Pipes' own
stores write messages beside those of other runs, and delete nothing.
"""

import io
import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import dagster as dg

from taxi_shared import storage
from taxi_shared.engines import NoAnswer
from taxi_shared.storage import DataRoot

# By the protocol of a path: what `spark_job.py` calls the store.
STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_CLIENTS = {"s3": "boto3", "gs": "google-cloud-storage"}


class JobFolder(dg.PipesContextInjector, dg.PipesMessageReader):
    """The folder of one job: pass it to `open_pipes_session` as injector and as reader.

    Call `read` while the job runs, and once after it has ended. The folder is removed when the
    session closes. Raises NoAnswer for a data root that no job elsewhere can read.
    """

    def __init__(self, context: dg.AssetExecutionContext, root: DataRoot) -> None:
        self.path = root.engines / f"{context.run.run_id}-{uuid.uuid4().hex[:12]}"
        self._log = context.log
        self._next = 1
        if root.base.protocol not in STORES:
            raise NoAnswer(
                f"TAXI_DATA_ROOT is {str(root.base)!r}, which a job elsewhere cannot read; "
                "expected s3://bucket/prefix or gs://bucket/prefix"
            )

    def write(self, name: str, content: bytes) -> str:
        """Write a file that the job needs, and return its address."""
        storage.write_bytes(self.path / name, content)
        return str(self.path / name)

    @contextmanager
    def inject_context(self, context_data: Any) -> Iterator[Mapping[str, Any]]:
        """Write the question; remove the folder at the end."""
        try:
            self.write("question.json", json.dumps(context_data).encode())
            bucket, _, key = (self.path / "question.json").path.partition("/")
            yield {"store": STORES[self.path.protocol], "bucket": bucket, "key": key}
        finally:
            self._remove()

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[Mapping[str, Any]]:
        """Say where the job writes messages. They include its output."""
        self._handler = handler
        bucket, _, prefix = self.path.path.partition("/")
        yield {"bucket": bucket, "key_prefix": prefix, "include_stdio_in_messages": True}

    def read(self) -> None:
        """Handle the messages that have arrived. Raises StoreError."""
        while messages := self._read_next():
            self._next += 1
            for message in messages:
                self._handler.handle_message(json.loads(message))

    def no_messages_debug_text(self) -> str:
        """Where the files are, for the warning about a job without messages."""
        return (
            f"The job reads and writes {self.path}; its role needs access, and its Python "
            f"{_CLIENTS[STORES[self.path.protocol]]}."
        )

    def _read_next(self) -> list[str]:
        try:
            return storage.read_text(self.path / f"{self._next}.json").split("\n")
        except FileNotFoundError:
            return []

    def _remove(self) -> None:
        try:
            for path in storage.entries_below(self.path):
                storage.remove(path)
        except Exception as error:  # an answer, or the error that ended the job, matters more
            self._log.warning(f"{self.path} was not removed: {error}")


def zip_pipes() -> bytes:
    """The package dagster-pipes, which needs no other, as Spark takes packages: in a zip file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files("dagster_pipes").iterdir():
            if file.name.endswith(".py"):
                archive.writestr(f"dagster_pipes/{file.name}", file.read_bytes())
    return content.getvalue()
