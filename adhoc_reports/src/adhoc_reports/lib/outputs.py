"""Paths of the files that answer a request, and the error that is written where none can be."""

import json

from upath import UPath

from adhoc_reports.lib.request import error_name
from taxi_shared import storage
from taxi_shared.storage import DataRoot

REPORT_SUFFIX = ".report.json"
ERROR_SUFFIX = ".error.json"
FAILURE_SUFFIX = ".failed.json"


def chart_path(root: DataRoot, name: str) -> UPath:
    return root.outputs / f"{name}.png"


def numbers_path(root: DataRoot, name: str) -> UPath:
    return root.outputs / f"{name}.csv"


def report_path(root: DataRoot, name: str) -> UPath:
    return root.outputs / f"{name}{REPORT_SUFFIX}"


def error_path(root: DataRoot, filename: str) -> UPath:
    return root.outputs / f"{error_name(filename)}{ERROR_SUFFIX}"


def failure_path(root: DataRoot, name: str) -> UPath:
    return root.outputs / f"{name}{FAILURE_SUFFIX}"


def available_path(root: DataRoot) -> UPath:
    """The data that requests may ask for: see `available`."""
    return root.outputs / "available_data.json"


def report_error(root: DataRoot, filename: str, reason: str, run_key: str = "") -> None:
    """Write why a request gets no answer.

    run_key: of the version of the file that this is about; empty where it is about none
    """
    report = json.dumps({"request": filename, "reason": reason, "run_key": run_key}, indent=2)
    storage.write_text(error_path(root, filename), report + "\n")


def withdraw_error(root: DataRoot, filename: str) -> None:
    """Remove the error on a request that has been answered since."""
    storage.remove(error_path(root, filename))
