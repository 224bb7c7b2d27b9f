"""Files are written as a whole or stay as they were; addresses are checked."""

import errno
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from upath import UPath

from taxi_shared import storage
from taxi_shared.storage import DataRoot
from taxi_testing.object_store import S3Server


@pytest.fixture(params=["tmp_path", "s3_root", "gcs_root", "azure_root"])
def folder(request: pytest.FixtureRequest) -> UPath:
    """An empty folder, on this machine or in a store."""
    return storage.path_at(str(request.getfixturevalue(request.param)))


def names(folder: UPath) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_written_file_replaces_the_old_one(folder: UPath) -> None:
    for text in ("one", "two"):
        storage.write_text(folder / "deep" / "file.txt", text)
        assert (folder / "deep" / "file.txt").read_text() == text
    assert names(folder / "deep") == ["file.txt"]


@pytest.mark.parametrize("size", [0, 3, 60_000_000])  # the last is uploaded to S3 in parts
def test_failed_stream_keeps_the_old_file(folder: UPath, size: int) -> None:
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


def test_reader_never_sees_half_a_file(folder: UPath) -> None:
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


def test_version_changes_when_a_file_is_replaced(folder: UPath) -> None:
    for name in ("a.txt", "deep/b.txt"):
        storage.write_text(folder / "x" / name, "one")
    before = storage.versions_below(folder / "x")
    assert list(before) == [folder / "x/a.txt", folder / "x/deep/b.txt"]
    storage.write_text(folder / "x/a.txt", "two")
    after = storage.versions_below(folder / "x")
    assert after[folder / "x/a.txt"] != before[folder / "x/a.txt"]
    assert after[folder / "x/deep/b.txt"] == before[folder / "x/deep/b.txt"]


def test_partial_file_is_not_listed(folder: UPath) -> None:
    with storage.atomic_path(folder / "x" / "file.txt") as partial:
        storage.write_text(storage.path_at(partial), "half")
        assert storage.versions_below(folder / "x") == {}
    assert list(storage.versions_below(folder / "x")) == [folder / "x/file.txt"]


def test_partial_names_are_hidden_and_unique(tmp_path: Path) -> None:
    path = UPath(tmp_path / "file.txt")
    assert storage.partial_path(path) != storage.partial_path(path)
    assert storage.partial_path(path).name.startswith(".")


def test_folders_of_a_data_root_are_below_it(tmp_path: Path) -> None:
    root = DataRoot.at(str(tmp_path))
    parts = [root.raw, root.staging, root.outputs, root.requests]
    assert [Path(str(part)).relative_to(tmp_path).name for part in parts] == [
        "raw",
        "staging",
        "outputs",
        "requests",
    ]


def test_bucket_is_a_data_root() -> None:
    for address in ("s3://bucket/prefix", "s3://bucket/prefix/"):
        assert str(DataRoot.at(address).raw) == "s3://bucket/prefix/raw"


@pytest.mark.parametrize(
    "address", ["s3://", "s3:///", "hdfs://host/data", "https://example.com/data"]
)
def test_address_that_is_no_place_of_files_is_named(address: str) -> None:
    with pytest.raises(ValueError, match=f"'{address}' is not a place of files; expected a folder"):
        DataRoot.at(address)


def test_one_of_many_concurrent_writers_succeeds(folder: UPath) -> None:
    path = folder / "requests" / "a.json"
    with ThreadPoolExecutor(20) as writers:
        made = list(writers.map(lambda n: storage.write_new(path, str(n).encode()), range(100)))
    assert made.count(True) == 1
    assert path.read_bytes() == str(made.index(True)).encode()
    assert names(path.parent) == ["a.json"]


def test_refused_write_keeps_the_version(tmp_path: Path) -> None:
    path = UPath(tmp_path) / "a.json"
    assert storage.write_new(path, b"{}")
    seen = storage.version_of(path.fs.info(path.path))
    assert not storage.write_new(path, b"[]")
    assert storage.version_of(path.fs.info(path.path)) == seen


@pytest.mark.parametrize(
    ("address", "found"),
    [
        *((f"s3://bucket/a{c}b", c) for c in (*"*?[]&\\\n", "%2F")),
        *((f"/data/a{c}b", c) for c in ("\\", "\n", "%20")),
    ],
)
def test_ambiguous_character_is_refused(address: str, found: str) -> None:
    with pytest.raises(ValueError, match=r"^TAXI_DATA_ROOT is ") as refused:
        DataRoot.at(address)
    assert f"contains {found!r}; expected an address without " in str(refused.value)


@pytest.mark.parametrize("prefix", ["a//b", "a/./b", "a/../b", "/a"])
def test_prefix_with_empty_or_dotted_parts_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"TAXI_DATA_ROOT is .*without empty parts and without"):
        DataRoot.at(f"s3://bucket/{prefix}")


def test_refused_address_names_its_setting() -> None:
    with pytest.raises(ValueError, match=r"^DUCKDB_DATABASE is .*contains '&'"):
        storage.path_at("s3://bucket/a&b.duckdb", "DUCKDB_DATABASE")


def test_file_url_is_the_folder_of_its_path(tmp_path: Path) -> None:
    root = DataRoot.at(f"file://{tmp_path}/a%20b")
    storage.write_text(root.raw / "x.txt", "here")
    assert (tmp_path / "a b" / "raw" / "x.txt").read_text() == "here"
    assert list(storage.versions_below(root.raw)) == [UPath(tmp_path / "a b" / "raw" / "x.txt")]


def test_data_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ValueError, match=r"TAXI_DATA_ROOT is '.*/data', a file; expected a folder"):
        DataRoot.at(str(tmp_path / "data"))


def test_check_names_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"TAXI_DATA_ROOT is .*/file is not a folder that this"):
        DataRoot.at(str(tmp_path / "file" / "data")).check()
    DataRoot.at(str(tmp_path / "new" / "data")).check()


def test_check_names_a_folder_that_is_not_writable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        root, user = DataRoot.at(f"{folder}/data"), os.geteuid()
        try:
            if user == 0:  # root may write everywhere
                os.seteuid(65534)
            with pytest.raises(ValueError, match=f"{folder} is not a folder that this user can"):
                root.check()
        finally:
            os.seteuid(user)


def test_removing_a_file_leaves_its_neighbours(folder: UPath) -> None:
    for name in ("a*.json", "ab.json", "a[b].json"):
        storage.write_text(folder / name, "{}")
    storage.remove(folder / "a*.json")
    assert names(folder) == ["a[b].json", "ab.json"]
    storage.remove(folder / "a[b].json")
    storage.remove(folder / "missing.json")
    assert names(folder) == ["ab.json"]


def test_file_is_on_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(descriptor: int) -> None:
        synced.append(target.exists())
        fsync(descriptor)

    synced: list[bool] = []
    fsync, target = os.fsync, tmp_path / "new" / "folder" / "file.json"
    monkeypatch.setattr(os, "fsync", record)
    storage.write_text(UPath(target), "{}")
    # The folders' names in their folders, the content, then its name.
    assert synced == [False, False, False, True]
    assert storage.write_new(UPath(target.with_name("other.json")), b"{}")
    assert len(synced) == 6


def test_text_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,\xff")
    with pytest.raises(ValueError, match=r"a\.csv is damaged .*: materialize it again"):
        storage.read_text(UPath(tmp_path / "a.csv"))


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UPath:
    """A path whose partial file is on a device that is always full."""
    partial = tmp_path / "partial"
    partial.symlink_to("/dev/full")
    monkeypatch.setattr(storage, "partial_path", lambda path: UPath(partial))
    return UPath(tmp_path / "file.bin")


def test_full_disk_is_named_and_keeps_the_old_file(full_disk: UPath) -> None:
    Path(str(full_disk)).write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as raised:
        storage.write_bytes(full_disk, b"new")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(full_disk))
    assert names(full_disk.parent) == ["file.bin"]
    assert full_disk.read_bytes() == b"old"


def test_full_disk_under_duckdb_is_an_error_of_the_disk(full_disk: UPath) -> None:
    with (
        pytest.raises(OSError, match="No space left on device") as raised,
        storage.atomic_path(full_disk) as partial,
        duckdb.connect() as con,
    ):
        con.execute("COPY (FROM range(100_000)) TO $target (FORMAT csv)", {"target": partial})
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(full_disk))
    assert names(full_disk.parent) == []


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty temporary directory: other processes use that of the machine."""
    folder: Path = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def make_old(path: Path | UPath) -> None:
    """Set the time of a file to two days ago."""
    two_days_ago = time.time() - 2 * 86_400
    os.utime(str(path), (two_days_ago, two_days_ago), follow_symlinks=False)


def test_sweep_removes_old_left_overs_only(tmp_path: Path, temporary: Path) -> None:
    root = DataRoot.at(str(tmp_path / "data"))
    folders = [root.raw, root.staging / "trips/partition_date=2023-01-01", root.outputs]
    old = [storage.partial_path(folder / "x.parquet") for folder in (*folders, root.requests)]
    kept = [
        *(folder / ".x.parquet.partial" for folder in folders),  # a hidden file of another
        root.raw / f"x.{'0' * 32}.partial",
        root.base / f".x.{'0' * 32}.partial",
        root.raw / "x.parquet",
    ]
    old += [root.loads / "trips" / "1f.json", root.engines / "1f-0a" / "question.json"]
    for path in (*old, *kept):
        storage.write_text(path, "half")
        make_old(path)
    alive = storage.partial_path(root.raw / "x.parquet")
    storage.write_text(alive, "half")
    assert sorted(storage.sweep(root)) == sorted(map(str, old))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*kept, alive))


def test_sweep_removes_spill_folders_of_old_runs(tmp_path: Path, temporary: Path) -> None:
    old, in_use = temporary / "taxi-duckdb-old", temporary / "taxi-duckdb-in-use"
    another, link = temporary / "another", temporary / "taxi-duckdb-link"
    for folder in (old, in_use, another):
        folder.mkdir()
        (folder / "spilled").write_text("x")
    link.symlink_to(another)
    for path in (old / "spilled", old, in_use, another / "spilled", another, link):
        make_old(path)
    assert storage.sweep(DataRoot.at(str(tmp_path / "data"))) == [str(old)]
    assert sorted(temporary.iterdir()) == [another, in_use, link]


def test_sweep_removes_leftovers_on_s3(
    s3_root: str, object_store: S3Server, temporary: Path
) -> None:
    root, client = DataRoot.at(s3_root), object_store.client()
    bucket, _, prefix = root.base.path.partition("/")
    half = storage.partial_path(root.staging / "trips" / "x.parquet")
    for path in (half, root.staging / "x.parquet", root.raw / ".x.partial"):
        storage.write_text(path, "x")
    for key in (f"{prefix}/raw/big", f"{prefix}-of-another/raw/big"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    assert storage.sweep(root) == []  # all leftovers are from today
    assert sorted(storage.sweep(root, timedelta(days=-1))) == sorted(
        [str(half), f"{root.raw}/big (an upload)"]
    )
    left = [path.removeprefix(f"{bucket}/{prefix}/") for path in root.base.fs.find(root.base.path)]
    assert left == ["raw/.x.partial", "staging/x.parquet"]
    uploads = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)["Uploads"]
    assert [each["Key"] for each in uploads] == [f"{prefix}-of-another/raw/big"]
