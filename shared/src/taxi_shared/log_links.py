"""Links from a run's page to its lines in a log service, in place of logs that Dagster stores.

For `compute_logs` of dagster.yaml, as in docs/reference/log-links.yaml. Every process of an
instance loads it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import StringSource

# Dagster documents the class under this path, and exports it nowhere else.
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager


class LogLinks(NoOpComputeLogManager):
    """Leaves standard output to the log service, and links to it.

    url: address in which `{run_id}` becomes the run's, as in a search for `run_id`
    """

    def __init__(self, url: str, inst_data: Any = None) -> None:
        super().__init__(inst_data)
        self._url = url

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The fields of `config` in dagster.yaml."""
        return {"url": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """The object of a `config` in dagster.yaml. Raises ValueError for another address."""
        url = config_value["url"]
        if not url.startswith(("https://", "http://")) or "{run_id}" not in url:
            raise ValueError(
                f"compute_logs of dagster.yaml has the url {url!r}; expected the https:// address "
                "of a search in the log service, with {run_id} in place of the run's id"
            )
        return cls(url, inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[Any]:
        """Capture nothing; the step's event has the link. A key begins with the id of the run."""
        with super().capture_logs(log_key) as captured:
            yield captured._replace(external_url=self._url.replace("{run_id}", log_key[0]))
