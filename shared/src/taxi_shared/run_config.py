"""What the config of a run may set: its ops by plain values, never the resources."""

from collections.abc import Mapping
from typing import Any

import dagster as dg


class SetByEnvironment:
    """A base of every resource of the project: the environment alone sets its fields.

    Dagster lets the config of a run replace any field of any resource: where files are written,
    where they are fetched from, how DuckDB is configured. Anyone who may launch a run could have
    its process read, write and load code from elsewhere.
    """

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Raises dagster.Failure that names what the config of the run may not have."""
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
            # The value would be shown with the asset, and in its errors.
            raise dg.Failure(
                "The config of an op cannot name an environment variable ({env: …}). Give a value.",
                allow_retries=False,
            )


def _names_environment(config: object) -> bool:
    if isinstance(config, Mapping):
        return set(config) == {"env"} or any(map(_names_environment, config.values()))
    return isinstance(config, list) and any(map(_names_environment, config))
