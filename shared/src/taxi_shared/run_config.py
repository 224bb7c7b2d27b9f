"""A guard for run config: it may configure ops with plain values, never resources."""

from collections.abc import Mapping
from typing import Any

import dagster as dg


class SetByEnvironment:
    """Base class of the project's resources: only the environment sets their fields.

    Dagster lets run config replace any field of any resource: where files are written, where they
    are fetched from, how DuckDB is configured. Anyone who may launch a run could let its process
    read, write and load code from elsewhere.
    """

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Raise dagster.Failure if run config sets a resource or reads an environment variable."""
        config: Mapping[str, Any] = context.run.run_config if context.run else {}
        configured = config.get("resources") or {}
        fields = [
            f"resources.{key}.config.{field}"
            for key, resource in configured.items()
            for field in (resource or {}).get("config") or {}
        ]
        if fields:
            raise dg.Failure(
                f"The config of a run cannot set {', '.join(fields)}: resources are set by the "
                "environment (see .env.example). Remove `resources` from the config.",
                allow_retries=False,
            )
        if _names_environment(config.get("ops")):
            # The asset's page and errors would show the value.
            raise dg.Failure(
                "The config of an op cannot name an environment variable ({env: …}). Give a value.",
                allow_retries=False,
            )


def _names_environment(config: object) -> bool:
    if isinstance(config, Mapping):
        return set(config) == {"env"} or any(map(_names_environment, config.values()))
    return isinstance(config, list) and any(map(_names_environment, config))
