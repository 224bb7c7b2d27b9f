"""The status of each service's source: ingestion writes it, the portal and `make status` read it.

One document per service, `outputs/source_status/<service>.json`: the portal may read outputs only,
and the sensors of the services write at the same time.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from upath import UPath

from taxi_shared import storage
from taxi_shared.storage import DataRoot

FOLDER = "source_status"
MAX_BYTES = 64 * 1024


class SourceStatus(BaseModel):
    """The status of a service's source.

    state:      current (every published month is loaded), pending (a month is not published or not
                loaded yet) or unreachable (the source does not answer, or refuses requests)
    since:      when this state began
    next_check: when the source is polled next
    message:    a sentence for people with the state and the time of the next check
    """

    model_config = ConfigDict(frozen=True)

    service: Annotated[str, Field(pattern="^[a-z]+$")]
    state: Literal["current", "pending", "unreachable"]
    since: AwareDatetime
    # Documents of earlier releases have `next_look`.
    next_check: AwareDatetime = Field(validation_alias=AliasChoices("next_check", "next_look"))
    message: str

    def save(self, root: DataRoot) -> None:
        """Replace the service's document. Raises what the storage raises."""
        storage.write_text(_path(root, self.service), self.model_dump_json() + "\n")


def load(root: DataRoot, service: str) -> SourceStatus | None:
    """Read the status of a service's source; None where it has no readable document.

    Raises what the storage raises, except FileNotFoundError.
    """
    try:
        content = storage.read_bounded(_path(root, service), MAX_BYTES)
        status = SourceStatus.model_validate_json(content)
    except (FileNotFoundError, storage.UnsafeFile, ValidationError):
        return None
    return status if status.service == service else None


def format_time(when: datetime, now: datetime) -> str:
    """Format a time for people: 20:02 UTC, or 5 May, 20:02 UTC on another day than `now`."""
    day = "" if when.date() == now.date() else f"{when.day} {when:%B}, "
    return f"{day}{when:%H:%M} UTC"


def _path(root: DataRoot, service: str) -> UPath:
    return root.outputs / FOLDER / f"{service}.json"
