"""Events of runs as lines of JSON on standard output, for the agents that collect logs.

Off until `python_logs` of dagster.yaml names `JsonLines`, as in docs/reference/json-logs.yaml.
Nothing else imports this module but the platform's commands: a location loads it only then.

The fields suit three services at once:

- Google Cloud Logging takes `severity`, `message` and `time` as the fields of its entries.
- Datadog takes `severity` for the status, and `message`.
- CloudWatch makes metrics of the numbers that `_aws` names, in its embedded metric format (EMF).
  The others make metrics of the same fields `rows`, `seconds` and `failures` by their rules,
  which is why there is no OpenTelemetry here.
"""

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from taxi_shared.ranges import LOCATION_TAG, RANGE_END, RANGE_START

if TYPE_CHECKING:
    from dagster import DagsterEvent, MetadataValue

NAMESPACE = "TaxiPlatform"
MAX_TEXT_CHARS = 1500
# Docker splits longer lines, and their parts are not JSON.
MAX_LINE_BYTES = 16_000
UNITS = {"rows": "Count", "seconds": "Seconds", "failures": "Count"}
# What the numbers of a line are about, most exact first.
SUBJECTS = ("asset", "problem", "step", "job")

Fields = dict[str, Any]


class JsonLines(logging.Handler):
    """A handler for `python_logs` of dagster.yaml: a line per event and log message of a run.

    metrics: add `_aws`, from which CloudWatch makes metrics
    """

    def __init__(self, metrics: bool = False) -> None:
        super().__init__()
        self._metrics = metrics
        _stdout()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of Dagster's; an error goes to standard error, and the run goes on."""
        try:
            write_line(describe(record), self._metrics)
        except Exception:
            self.handleError(record)


def dagster_config(log_format: str) -> dict[str, Any]:
    """The section of dagster.yaml for TAXI_LOG_FORMAT; empty for `text`."""
    if log_format == "text":
        return {}
    handler = {"class": f"{__name__}.{JsonLines.__name__}", "metrics": log_format == "emf"}
    return {"python_logs": {"dagster_handler_config": {"handlers": {"json_lines": handler}}}}


def write_line(fields: Fields, metrics: bool) -> None:
    """Write fields as one line with the time, and with `_aws` where `metrics` is true."""
    now = time.time()
    fields = {"time": _iso_time(now), **fields, **(_emf(fields, now) if metrics else {})}
    data = _encode(fields)
    for name in ("metadata", "error"):
        if len(data) > MAX_LINE_BYTES:
            fields.pop(name, None)
            data = _encode({**fields, "shortened": True})
    while data:
        data = data[os.write(_stdout(), data) :]


def describe(record: logging.LogRecord) -> Fields:
    """The fields of a record that Dagster has logged in a run."""
    context = record.dagster_meta  # type: ignore[attr-defined]  # Dagster adds it to each record
    tags, event = context["job_tags"], context["dagster_event"]
    fields = {
        "severity": record.levelname,
        "message": context["orig_message"],
        "kind": "event" if event else "log",
        "run_id": context["run_id"],
        "location": tags.get(LOCATION_TAG),
        "job": context["job_name"],
        "step": context["step_key"],
        "partition": _partition(tags),
    }
    if event:
        fields |= _describe_event(event)
    if fields["severity"] == "DEBUG" and not UNITS.keys().isdisjoint(fields):
        fields["severity"] = "INFO"  # Dagster logs materializations and passed checks as DEBUG
    if record.exc_info and record.exc_info[1]:
        fields["error"] = repr(record.exc_info[1])
    return {name: _shorten(value) for name, value in fields.items() if value is not None}


def _describe_event(event: "DagsterEvent") -> Fields:
    """What an event has beyond its message."""
    name = event.event_type.name
    data: Any = event.event_specific_data
    fields: Fields = {"event": name}
    if name == "ASSET_MATERIALIZATION":
        made = data.materialization
        fields |= _describe_asset(made.asset_key.to_user_string(), made.metadata)
        if made.partition:
            fields["partition"] = made.partition
        for field, key in (("rows", "dagster/row_count"), ("seconds", "seconds")):
            if isinstance(number := fields["metadata"].get(key), int | float):
                fields[field] = number
    elif name == "ASSET_CHECK_EVALUATION":
        fields |= _describe_asset(data.asset_key.to_user_string(), data.metadata)
        fields |= {
            "check": data.check_name,
            "passed": data.passed,
            "failures": int(not data.passed),
        }
        if data.partition:
            fields["partition"] = data.partition
        if not data.passed:
            fields["severity"] = "ERROR" if data.severity.value == "ERROR" else "WARNING"
            fields["error"] = data.description
    elif name in ("STEP_SUCCESS", "RUN_SUCCESS"):
        fields["failures"] = 0
        if name == "STEP_SUCCESS":
            fields["seconds"] = round(data.duration_ms / 1000, 3)
    elif name in ("STEP_FAILURE", "RUN_FAILURE"):
        fields |= {"failures": 1, "error": _root_cause(data.error)}
    return fields


def _describe_asset(asset: str, metadata: Mapping[str, "MetadataValue[Any]"]) -> Fields:
    """An asset, and those of its metadata that are numbers or texts."""
    values = {key: getattr(entry, "value", None) for key, entry in metadata.items()}
    return {
        "asset": asset,
        "metadata": {
            key: _shorten(value if not isinstance(value, float) or math.isfinite(value) else None)
            for key, value in values.items()
            if isinstance(value, str | int | float | None)
        },
    }


def _root_cause(error: Any) -> str | None:
    """The message of the error that caused Dagster's own."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else None


def _partition(tags: Mapping[str, str]) -> str | None:
    """The partition of a run, or the first and last one, as in `2023-01-01...2023-03-01`."""
    first = tags.get(RANGE_START) or tags.get("dagster/partition")
    last = tags.get(RANGE_END)
    return f"{first}...{last}" if last and last != first else first


def _emf(fields: Fields, now: float) -> Fields:
    """CloudWatch's metrics of a line, by location, one of `SUBJECTS`, and check.

    A partition is a field and not a dimension: AWS charges for each value of a dimension.
    """
    metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items() if name in fields]
    subject = next((name for name in SUBJECTS if name in fields), None)
    if not metrics or not subject:
        return {}
    dimensions = [name for name in ("location", subject, "check") if name in fields]
    directive = {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}
    return {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}}


@cache
def _stdout() -> int:
    """A copy of standard output's descriptor, made before Dagster redirects that to a file.

    Dagster does so while a step runs. It copies what it finds there once a second until the step
    ends, and the last lines can be missing.
    """
    return os.dup(1)


def _shorten(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
        return value[: MAX_TEXT_CHARS - 1] + "…"
    return value


def _encode(fields: Fields) -> bytes:
    return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
