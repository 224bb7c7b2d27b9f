"""A file is there whole, or as it was before."""

import threading
from pathlib import Path

import pytest
from upath import UPath

from taxi_shared import storage
from taxi_shared.storage import DataRoot


@pytest.fixture(params=["folder", "object store"])
def folder(request, tmp_path):
    return UPath(tmp_path) if request.param == "folder" else UPath(f"memory://{tmp_path.name}")


def names(folder: UPath) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_that_is_written_replaces_the_old_one(folder):
    for text in ("one", "two"):
        storage.write_text(folder / "deep" / "file.txt", text)
        assert (folder / "deep" / "file.txt").read_text() == text
    assert names(folder / "deep") == ["file.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_no_trace(tmp_path):
    path = UPath(tmp_path / "file.txt")
    storage.write_text(path, "old")

    def write_half() -> None:
        with storage.atomic_open(path) as file:
            file.write(b"ne")
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_half()
    assert path.read_text() == "old"
    assert names(UPath(tmp_path)) == ["file.txt"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = UPath(tmp_path / "file.bin")
    contents = [bytes([n]) * 200_000 for n in range(20)]
    storage.write_bytes(path, contents[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        storage.write_bytes(path, content)
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = UPath(tmp_path / "file.txt")
    assert storage.partial_path(path) != storage.partial_path(path)
    assert storage.partial_path(path).name.startswith(".")


def test_the_parts_of_a_data_root_are_below_it(tmp_path):
    root = DataRoot.at(str(tmp_path))
    parts = [root.raw, root.staging, root.outputs, root.requests]
    assert [Path(str(part)).relative_to(tmp_path).name for part in parts] == [
        "raw",
        "staging",
        "outputs",
        "requests",
    ]


def test_a_bucket_is_a_data_root_as_well():
    assert str(DataRoot.at("memory://bucket/prefix").raw) == "memory://bucket/prefix/raw"
