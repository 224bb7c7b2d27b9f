"""The commands of the Makefile on machines that lack something, or have it elsewhere."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from taxi_platform.__main__ import cli, load_settings
from taxi_platform.workspace import ROOT, locations
from taxi_shared.addresses import without_proxy_for_loopback

MACHINE = "/usr/bin:/bin"
NAMES = [location.name for location in locations()]


def make(
    folder: Path, *words: str, path: str = MACHINE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`make` in a copy of the Makefile, on a machine with these variables alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Makefile", "dg.toml"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a blank, with locks of nothing and a `uv` that notes how it is called."""
    folder = tmp_path / "a folder"
    for project in (".", *NAMES):
        (folder / project / ".venv").mkdir(parents=True)
        for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            (folder / project / name).touch()
    for package in ("shared", "shared/testing"):
        (folder / package).mkdir()
        (folder / package / "pyproject.toml").touch()
    program(tmp_path / "bin", "uv", f'echo "$1 index=$UV_DEFAULT_INDEX" >> "{tmp_path}/calls"')
    return folder


def test_setup_works_in_a_folder_with_a_blank(checkout: Path, tmp_path: Path) -> None:
    path = f"{tmp_path}/bin:{MACHINE}"
    done = make(checkout, "setup", path=path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("environment of") == 1 + len(NAMES)
    assert "Nothing to be done" in make(checkout, "setup", path=path).stdout


def test_missing_venv_module_names_what_to_install(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "python", "python3", 'echo "ensurepip is not available"; exit 1')
    done = make(checkout, "setup", path=f"{tmp_path}/python:{MACHINE}")

    assert done.returncode != 0
    assert "install uv" in done.stderr
    assert "python3-venv" in done.stderr
    assert not (checkout / ".tools").exists()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, "https://pip.example.org/simple"),
        ({"UV_DEFAULT_INDEX": "https://uv.example.org/simple"}, "https://uv.example.org/simple"),
        ({"PIP_INDEX_URL": "https://env.example.org/simple"}, "https://env.example.org/simple"),
    ],
    ids=["pip.conf", "uv", "PIP_INDEX_URL"],
)
def test_index_of_pip_is_used_unless_uv_has_one(
    checkout: Path, tmp_path: Path, given: dict[str, str], used: str
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://pip.example.org/simple\n")
    path = f"{tmp_path}/bin:{Path(shutil.which('python3') or '').parent}:{MACHINE}"
    done = make(checkout, "setup", path=path, PIP_CONFIG_FILE=str(config), **given)

    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert {call.partition("index=")[2] for call in calls} == {used}


def test_folder_with_a_colon_is_refused_by_name(tmp_path: Path) -> None:
    done = make(tmp_path / "a:b", "help")
    assert done.returncode != 0
    assert "a:b" in done.stderr
    assert "has a colon" in done.stderr


@pytest.mark.parametrize("words", [("deploy",), ("deploy", "LOCATION=tolls")])
def test_deploy_without_a_location_lists_them(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = make(tmp_path, *words)
    assert done.returncode != 0
    assert f"expected one of {' '.join(NAMES)}" in done.stderr


def test_images_without_git_fail_before_any_build(tmp_path: Path) -> None:
    """An image without an immutable version would change runs in progress at a deploy."""
    for name in ("bash", "sh", "chmod", "dirname", "date", "make"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    program(tmp_path / "bin", "docker", f"touch {tmp_path}/built")
    shutil.copytree(ROOT / "deploy", tmp_path / "project" / "deploy")
    done = make(tmp_path / "project", "images", path=f"{tmp_path}/bin")

    assert done.returncode != 0
    assert "git must be installed" in done.stderr
    assert not (tmp_path / "built").exists()


def test_text_files_have_line_feeds_on_every_machine(tmp_path: Path) -> None:
    """With core.autocrlf, scripts would end their lines as Windows does, and not start."""
    clone = tmp_path / "clone"
    options = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run(
        ["git", *options, "clone", "-q", "--depth=1", f"file://{ROOT}", clone], check=True
    )
    for name in ("Makefile", "deploy/version.sh", "deploy/backup.sh", "docs/reference/columns.md"):
        assert b"\r" not in (clone / name).read_bytes(), name


def test_demo_names_a_busy_port_before_it_makes_anything() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["demo", "--portal-port", str(port)])

    assert result.exit_code == 1
    assert re.search(rf"port {port} .*busy.*PORTAL_PORT=8001", result.output, re.S)
    assert "synthetic" not in result.output


def test_loopback_is_added_to_what_needs_no_proxy() -> None:
    assert without_proxy_for_loopback({"no_proxy": "a.example, 127.0.0.1"}) == dict.fromkeys(
        ("no_proxy", "NO_PROXY"), "a.example,127.0.0.1,localhost,::1"
    )


def test_settings_keep_dollars_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("TAXI_ALERT_SMTP_PASSWORD='p$a${HOME}#s'\n")
    monkeypatch.delenv("TAXI_ALERT_SMTP_PASSWORD", raising=False)
    load_settings(file)
    assert os.environ["TAXI_ALERT_SMTP_PASSWORD"] == "p$a${HOME}#s"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--port", "99999"), "99999 is not a port"),
        (("--port", "3912", "--portal-port", "3912"), "cannot both have port 3912"),
    ],
)
def test_ports_that_cannot_be_used_are_named(options: tuple[str, ...], reason: str) -> None:
    result = CliRunner().invoke(cli, ["demo", *options])
    assert result.exit_code == 1
    assert reason in result.output
