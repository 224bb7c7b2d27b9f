"""Locks and folders of the instance are for their owner, and follow no link."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from taxi_platform import instance
from taxi_platform.deploy import DeployError, Deployment
from taxi_platform.graphql import GraphQL
from taxi_platform.locks import make_private_folder, open_lock
from taxi_platform.workspace import locations


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def deployment(monkeypatch: pytest.MonkeyPatch, root: Path) -> Deployment:
    """The deploy of a location into the compose project `taxi`, from a checkout."""
    monkeypatch.setattr(Deployment, "configuration", lambda self: {"name": "taxi"})
    return Deployment(locations()[0], [], GraphQL("http://127.0.0.1:9"), Console(quiet=True), root)


def test_deploys_from_two_checkouts_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
    with deployment(monkeypatch, tmp_path / "a").lock():
        with (
            pytest.raises(DeployError, match="is already being deployed"),
            deployment(monkeypatch, tmp_path / "b").lock(),
        ):
            pass
        folder = tmp_path / "state" / "taxi-platform"
        assert [(mode(folder), mode(file)) for file in folder.iterdir()] == [(0o700, 0o600)]
    with deployment(monkeypatch, tmp_path / "b").lock():
        pass


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("daemon.lock", lambda home: instance.lock_home(home).__enter__()),
        ("schema.lock", lambda home: instance.prepare_home(home, {})),
    ],
)
def test_lock_does_not_follow_a_link(
    tmp_path: Path, name: str, lock: Callable[[Path], object]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    home = tmp_path / "home"
    home.mkdir()
    (home / name).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        lock(home)
    assert victim.read_text() == "precious"


def test_lock_of_an_older_version_is_kept(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").write_text("1234567")
    with instance.lock_home(tmp_path):
        assert (tmp_path / "daemon.lock").read_text().isdigit()
        with (
            pytest.raises(instance.InstanceError, match="an instance is already running"),
            instance.lock_home(tmp_path),
        ):
            pass


def test_new_folders_and_locks_are_for_their_owner(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    home = shared / ".dagster" / "demo"
    make_private_folder(home)
    assert [mode(path) for path in (shared, home.parent, home)] == [0o755, 0o700, 0o700]
    with open_lock(home / "a.lock"):
        assert mode(home / "a.lock") == 0o600
