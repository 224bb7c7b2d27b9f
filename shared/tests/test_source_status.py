"""The status of the sources: one document per service, read if it is intact."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from taxi_shared import source_status
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot

STATUS = SourceStatus(
    service="yellow",
    state="pending",
    since=datetime(2023, 5, 5, 14, 2, tzinfo=UTC),
    next_check=datetime(2023, 5, 5, 20, 2, tzinfo=UTC),
    message="2023-04 is not published yet; next check at 20:02 UTC.",
)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot.at(str(tmp_path))


def test_each_service_has_its_own_status(root: DataRoot, tmp_path: Path) -> None:
    green = STATUS.model_copy(update={"service": "green", "state": "current"})
    STATUS.save(root)
    assert source_status.load(root, "green") is None
    green.save(root)
    assert source_status.load(root, "yellow") == STATUS
    assert source_status.load(root, "green") == green
    assert sorted(p.name for p in (tmp_path / "outputs").iterdir()) == ["source_status"]


def test_status_is_stored_on_s3(s3_root: str) -> None:
    root = DataRoot.at(s3_root)
    assert source_status.load(root, "yellow") is None
    STATUS.save(root)
    assert source_status.load(root, "yellow") == STATUS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        STATUS.model_dump_json().encode()[:-9],
        STATUS.model_dump_json().replace("pending", "fine").encode(),
        STATUS.model_dump_json().replace("yellow", "green").encode(),
        STATUS.model_dump_json().encode() + b" " * source_status.MAX_BYTES,
    ],
    ids=["empty", "list", "not text", "cut", "unknown state", "another service", "too large"],
)
def test_unreadable_document_is_no_status(root: DataRoot, tmp_path: Path, content: bytes) -> None:
    STATUS.save(root)
    (tmp_path / "outputs" / "source_status" / "yellow.json").write_bytes(content)
    assert source_status.load(root, "yellow") is None


def test_document_of_an_earlier_release_is_read(root: DataRoot, tmp_path: Path) -> None:
    STATUS.save(root)
    file = tmp_path / "outputs" / "source_status" / "yellow.json"
    file.write_text(file.read_text().replace("next_check", "next_look"))
    assert source_status.load(root, "yellow") == STATUS


def test_symbolic_link_is_not_followed(root: DataRoot, tmp_path: Path) -> None:
    STATUS.save(root)
    file = tmp_path / "outputs" / "source_status" / "yellow.json"
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert source_status.load(root, "yellow") is None


def test_time_on_another_day_has_the_day() -> None:
    now = datetime(2023, 5, 5, 14, 3, tzinfo=UTC)
    assert source_status.format_time(datetime(2023, 5, 5, 20, 2, tzinfo=UTC), now) == "20:02 UTC"
    assert (
        source_status.format_time(datetime(2023, 5, 6, 0, 2, tzinfo=UTC), now) == "6 May, 00:02 UTC"
    )
