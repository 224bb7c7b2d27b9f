"""The folder of requests: what a listing says, and what files hold."""

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from upath import UPath

from adhoc_reports.lib import request_files
from adhoc_reports.lib.file_cache import Postponed
from adhoc_reports.lib.request_files import (
    Content,
    RequestFile,
    list_requests,
    modified,
    read_requests,
)
from taxi_shared.storage import DataRoot

from .conftest import JANUARY


def listed(folder: UPath) -> list[RequestFile]:
    """The request files of a folder that is there."""
    files = list_requests(folder)
    assert files is not None
    return files


def read_one(folder: UPath) -> tuple[str, str]:
    """The hint and the content's hash of the only file of a folder."""
    (file,) = listed(folder)
    content = read_requests(folder, [file])[file.name]
    assert isinstance(content, Content)
    return file.hint, content.content_hash


@pytest.fixture(params=["folder", "S3"])
def requests(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """A folder of requests."""
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    folder = DataRoot.at(root).requests
    folder.mkdir(parents=True)
    return folder


def test_listing_has_what_is_meant_as_a_request(requests: UPath) -> None:
    meant = (
        "a.json",
        "b [1]*?#%.json",
        "f.JSON",
        "g.json.txt",
        "h.json ",
    )
    for name in (
        *meant,
        ".c.json",
        ".d.json.0.partial",
        "e.txt",
        "README",
        "i.json~",
        "j.json.part",
    ):
        (requests / name).write_text("{}")
    for name in ("folder", "old.json.d"):
        (requests / name).mkdir()
        (requests / name / "g.json").write_text("{}")
    found = listed(requests)
    assert sorted(file.name for file in found) == sorted(meant)
    assert {file.obstacle for file in found} == {""}


NAMES_TO_REFUSE = (
    *(
        "s3::b.json",
        "c:d.json",
        "http:::e.json",
        "data:,f.json",
        "f.JSON",
        "g.json.txt",
        "con.json",
    ),
    *(
        "h?versionId=1.json",
        "*.json",
        " i.json",
        "j .json",
        "\u200bk.json",
        "l.json ",
        "file:m.json",
    ),
)


def put(folder: UPath, name: str, content: str) -> None:
    """Write a file of a name that UPath or s3fs may take for something else."""
    if folder.protocol == "s3":
        bucket, _, prefix = folder.path.partition("/")
        folder.fs.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
    else:
        folder.fs.pipe_file(f"{folder.path}/{name}", content.encode())


def test_name_of_any_kind_holds_up_no_other(requests: UPath) -> None:
    good = ("a.json", "b [1]#%.json", "~c.json", "=d.json")
    for name in (*good, *NAMES_TO_REFUSE):
        put(requests, name, json.dumps(JANUARY))
    found = read_requests(requests, listed(requests))
    assert sorted(found) == sorted((*good, *NAMES_TO_REFUSE))
    contents = {name: each for name, each in found.items() if isinstance(each, Content)}
    assert {name for name, each in contents.items() if each.question} == {*good}
    assert {name for name, each in contents.items() if each.rejection} == {*NAMES_TO_REFUSE}


def test_replaced_file_has_another_hint_and_hash(requests: UPath) -> None:
    (requests / "a.json").write_text("{}")
    first = read_one(requests)
    assert read_one(requests) == first
    (requests / "a.json").write_text("[]")
    hint, content_hash = read_one(requests)
    assert hint != first[0]
    assert content_hash != first[1]


def test_replaced_file_of_same_size_and_time_has_new_hint(tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    for name in ("a.json", "b.partial"):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (1, 1))
    (first,) = listed(folder)
    (tmp_path / "b.partial").rename(tmp_path / "a.json")
    (second,) = listed(folder)
    assert second.hint != first.hint


def test_missing_folder_differs_from_an_empty_one(requests: UPath) -> None:
    (requests / ".being_written").write_text("")  # on S3 a folder is what its files are called
    assert list_requests(requests) == []
    assert list_requests(requests / "none") is None


def test_file_that_is_gone_before_reading_is_left_out(requests: UPath) -> None:
    (requests / "a.json").write_text("{}")
    files = listed(requests)
    (requests / "a.json").unlink()
    assert read_requests(requests, files) == {}


def test_file_that_changes_while_read_is_postponed(requests: UPath) -> None:
    (requests / "a.json").write_text("{")
    files = listed(requests)
    (requests / "a.json").write_text(json.dumps(JANUARY))
    found = read_requests(requests, files)["a.json"]
    assert isinstance(found, Postponed)
    assert "changed" in found.reason


def test_obvious_non_requests_are_rejected_unread(requests: UPath) -> None:
    files = [
        RequestFile("a.json", "1", 0, size=0),
        RequestFile("b.json", "1", 0, size=10_000_000_000),
        RequestFile("c.json", "1", 0, size=80, obstacle="a folder"),
        RequestFile("d\n.json", "1", 0, size=80),
    ]
    found = read_requests(requests, files)  # none of them is there
    assert all(isinstance(each, Content) and each.rejection for each in found.values())
    assert len(found) == len(files)


class BrokenStorage:
    """A folder of an object store that answers every read with an error."""

    path, protocol = "/requests", "memory"

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def fs(self) -> "BrokenStorage":
        """The file system."""
        return self

    def cat_ranges(self, paths: list[str], _start: int, _end: int) -> list[Exception]:
        """The answers to a read of several files."""
        return [self.error for _ in paths]


def read_from(storage: BrokenStorage) -> Content | Postponed:
    """What becomes of a request file there."""
    file = RequestFile("a.json", "1", 0, size=80)
    return read_requests(cast(UPath, storage), [file])["a.json"]


def test_unreadable_file_is_rejected_and_read_again() -> None:
    refused = read_from(BrokenStorage(PermissionError(13, "denied")))
    assert isinstance(refused, Content)
    assert "a.json cannot be read" in refused.rejection
    assert not refused.is_final


def test_timeout_postpones_the_file() -> None:
    failed = read_from(BrokenStorage(TimeoutError("slow down")))
    assert failed == Postponed("a.json could not be read: slow down")


@pytest.mark.parametrize(
    ("entry", "seconds"),
    [({"mtime": -1e12}, 0.0), ({"mtime": 1e12}, request_files.LATEST), ({"created": 5}, 5.0)],
)
def test_time_of_a_file_is_between_1970_and_9999(entry: dict[str, Any], seconds: float) -> None:
    assert modified(entry) == seconds
