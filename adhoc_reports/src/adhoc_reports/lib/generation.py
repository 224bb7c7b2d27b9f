"""One run's work on a request: which request it answers, and the outcome that it writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from adhoc_reports.lib.export import to_csv
from adhoc_reports.lib.failure import error_chain, explain_error
from adhoc_reports.lib.outcome import Outcome, Report, Status
from adhoc_reports.lib.request import SUFFIX, InvalidRequest, Question, check_name
from adhoc_reports.lib.store import ReportStore, Submission
from taxi_shared import storage

MAX_DETAILS_CHARACTERS = 4_000


@dataclass(frozen=True)
class Generation:
    """A run that answers a request; `content_hash` is of the request's file."""

    store: ReportStore
    name: str
    question: Question
    content_hash: str
    run_id: str

    @classmethod
    def of(
        cls, store: ReportStore, name: str, question: Question | None, run_id: str
    ) -> "Generation":
        """The generation of a report by its name.

        question: what is asked, where the run says so: its file is written unless it is there.

        Raises InvalidRequest where there is no valid request of this name, or another one.
        """
        filename = f"{name}{SUFFIX}"
        check_name(filename)
        if question and store.submit(name, question) is Submission.NAME_TAKEN:
            raise InvalidRequest(
                f"{filename} asks for something else than this run's config; choose another "
                "partition, or leave the config empty to answer the file"
            )
        content = store.read_request(filename)
        if content is None:
            raise InvalidRequest(
                f"There is no {store.root.requests / filename}; write it, or fill in borough, "
                "start_date and end_date in the launchpad"
            )
        if content.question is None:
            raise InvalidRequest(content.rejection)
        return cls(store, name, content.question, content.content_hash, run_id)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write `generating` now, and `failed` or `rejected` where the block fails.

        Raises dg.Failure where the block raises InvalidRequest.
        """
        before = self.store.read_outcome(self.name)
        kept = before.report if before and before.request == self.question else None
        try:
            self._write(Status.GENERATING, report=kept)
            yield
        except BaseException as error:  # a cancelled run raises no Exception
            try:
                self._write_failure(error, kept)
            except Exception as second:
                error.add_note(f"The failure could not be recorded for the portal: {second}")
            if isinstance(error, InvalidRequest):
                raise dg.Failure(str(error), allow_retries=False) from None
            raise

    def finish(self, report: Report, png: bytes) -> None:
        """Store a report's numbers and chart, and then the outcome."""
        storage.write_text(self.store.numbers_path(self.name), to_csv(self.question, report))
        storage.write_bytes(self.store.chart_path(self.name), png)
        self._write(Status.DONE, report=report)

    def _write_failure(self, error: BaseException, kept: Report | None) -> None:
        if isinstance(error, InvalidRequest):
            self._write(Status.REJECTED, reason=str(error))
            return
        texts = [f"{type(each).__name__}: {each}" for each in error_chain(error)]
        details = texts[-1][:MAX_DETAILS_CHARACTERS]
        self._write(Status.FAILED, reason=explain_error(texts), details=details, report=kept)

    def _write(self, status: Status, **values: Any) -> None:
        outcome = Outcome(
            status=status,
            filename=f"{self.name}{SUFFIX}",
            content_hash=self.content_hash,
            request=self.question,
            run_id=self.run_id,
            **values,
        )
        self.store.write_outcome(self.name, outcome)
