"""The state of the sources: one document per service, read as it was written or not at all."""

from datetime import UTC, datetime

import pytest

from taxi_shared import source_status
from taxi_shared.source_status import SourceStatus
from taxi_shared.storage import DataRoot

STATUS = SourceStatus(
    service="yellow",
    state="pending",
    since=datetime(2023, 5, 5, 14, 2, tzinfo=UTC),
    next_check=datetime(2023, 5, 5, 20, 2, tzinfo=UTC),
    message="2023-04 is not published yet; next look at 20:02 UTC.",
)


@pytest.fixture
def root(tmp_path) -> DataRoot:
    return DataRoot.at(str(tmp_path))


def test_each_service_has_its_own_status(root, tmp_path):
    green = STATUS.model_copy(update={"service": "green", "state": "current"})
    STATUS.save(root)
    assert source_status.load(root) == {"yellow": STATUS}
    green.save(root)
    assert source_status.load(root) == {"yellow": STATUS, "green": green}
    assert sorted(p.name for p in (tmp_path / "outputs").iterdir()) == ["source_status"]


def test_status_is_kept_on_s3(s3_root):
    root = DataRoot.at(s3_root)
    assert source_status.load(root) == {}
    STATUS.save(root)
    assert source_status.load(root) == {"yellow": STATUS}


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
def test_unreadable_document_is_no_status(root, tmp_path, content):
    STATUS.save(root)
    (tmp_path / "outputs" / "source_status" / "yellow.json").write_bytes(content)
    assert source_status.load(root) == {}


def test_link_in_place_of_the_document_is_not_followed(root, tmp_path):
    STATUS.save(root)
    file = tmp_path / "outputs" / "source_status" / "yellow.json"
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert source_status.load(root) == {}


def test_moment_names_the_day_where_it_is_another():
    now = datetime(2023, 5, 5, 14, 3, tzinfo=UTC)
    assert source_status.format_time(datetime(2023, 5, 5, 20, 2, tzinfo=UTC), now) == "20:02 UTC"
    assert (
        source_status.format_time(datetime(2023, 5, 6, 0, 2, tzinfo=UTC), now) == "6 May, 00:02 UTC"
    )
