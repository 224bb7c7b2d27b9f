"""A file is there whole, or as it was before."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from upath import UPath

from taxi_shared import storage
from taxi_shared.storage import DataRoot


@pytest.fixture(params=["folder", "S3"])
def folder(request, tmp_path):
    return storage.at(
        str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    )


def names(folder: UPath) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_that_is_written_replaces_the_old_one(folder):
    for text in ("one", "two"):
        storage.write_text(folder / "deep" / "file.txt", text)
        assert (folder / "deep" / "file.txt").read_text() == text
    assert names(folder / "deep") == ["file.txt"]


@pytest.mark.parametrize("size", [0, 3, 60_000_000])  # the last is uploaded to S3 in parts
def test_a_stream_that_fails_leaves_the_old_file_and_no_trace(folder, size):
    path = folder / "file.bin"

    def write(fill: bytes, fail: bool) -> None:
        with storage.atomic_open(path) as file:
            for begin in range(0, size, 1_000_000):
                file.write(fill * min(1_000_000, size - begin))
            if fail:
                raise RuntimeError("cut off")

    write(b"a", fail=False)
    with pytest.raises(RuntimeError, match="cut off"):
        write(b"b", fail=True)
    assert path.read_bytes() == b"a" * size
    assert names(folder) == ["file.bin"]


def test_a_reader_never_sees_half_a_file(folder):
    path = folder / "file.bin"
    contents = [bytes([n]) * 200_000 for n in range(20)]
    storage.write_bytes(path, contents[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(storage.read_bytes(path))

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        storage.write_bytes(path, content)
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert len(seen) > 1


def test_the_version_of_a_file_changes_when_it_is_replaced(folder):
    for name in ("a.txt", "deep/b.txt"):
        storage.write_text(folder / "x" / name, "one")
    before = storage.versions_below(folder / "x")
    assert list(before) == [folder / "x/a.txt", folder / "x/deep/b.txt"]
    storage.write_text(folder / "x/a.txt", "two")
    after = storage.versions_below(folder / "x")
    assert after[folder / "x/a.txt"] != before[folder / "x/a.txt"]
    assert after[folder / "x/deep/b.txt"] == before[folder / "x/deep/b.txt"]


def test_what_is_being_written_is_not_listed(folder):
    with storage.atomic_path(folder / "x" / "file.txt") as partial:
        storage.write_text(storage.at(partial), "half")
        assert storage.versions_below(folder / "x") == {}
    assert list(storage.versions_below(folder / "x")) == [folder / "x/file.txt"]


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
    for address in ("s3://bucket/prefix", "s3://bucket/prefix/"):
        assert str(DataRoot.at(address).raw) == "s3://bucket/prefix/raw"


@pytest.mark.parametrize("address", ["s3://", "s3:///", "gs://bucket", "https://example.com/data"])
def test_an_address_that_is_no_place_of_files_is_named(address):
    with pytest.raises(ValueError, match=f"'{address}' is no place of files; expected a folder"):
        DataRoot.at(address)


def test_of_many_that_make_a_file_at_once_one_succeeds(folder):
    path = folder / "requests" / "a.json"
    with ThreadPoolExecutor(20) as writers:
        made = list(writers.map(lambda n: storage.write_new(path, str(n).encode()), range(100)))
    assert made.count(True) == 1
    assert path.read_bytes() == str(made.index(True)).encode()
    assert names(path.parent) == ["a.json"]


def test_a_new_file_has_one_version_from_the_moment_it_is_seen(tmp_path):
    path = UPath(tmp_path) / "a.json"
    assert storage.write_new(path, b"{}")
    seen = storage.version_of(path.fs.info(path.path))
    assert not storage.write_new(path, b"[]")
    assert storage.version_of(path.fs.info(path.path)) == seen
