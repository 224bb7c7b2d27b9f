"""Alembic reads the revisions of Dagster's schema once per process.

With SQLite, Dagster compares each database that it opens with the newest revision: the three of an
instance, and one per run. Each time, Alembic runs the files of all revisions, which takes 20 ms
of a core, five times in a run of a second. They do not change while a process runs.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config


@cache
def keep_revisions() -> None:
    """Have Alembic keep what it has read: `ScriptDirectory.from_config` returns the same again."""
    from alembic.script import ScriptDirectory

    read, kept = ScriptDirectory.from_config, {}

    def from_config(config: "Config") -> ScriptDirectory:
        """The revisions at the location that a configuration names."""
        location = config.get_main_option("script_location")
        if location not in kept:
            kept[location] = read(config)
        return kept[location]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
