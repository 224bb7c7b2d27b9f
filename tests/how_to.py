"""The how-to on adding a location, whose commands tests run word for word."""

import re
import shutil
import subprocess
from pathlib import Path

from taxi_platform.scaffold import Scaffold
from taxi_platform.workspace import ROOT

PAGE = (ROOT / "docs" / "how-to" / "add-a-location.md").read_text()
OTHER = "In another repository"
PROGRAM = re.compile(r"(?:make|docker|uv) |\(cd ")


def _blocks(heading: str) -> list[str]:
    """The indented blocks of a section."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    found = re.findall(r"(?:^    .+\n)+", section, re.M)
    return [re.sub("^    ", "", block, flags=re.M) for block in found]


def commands(heading: str) -> list[str]:
    """The commands of a section."""
    found = [block for block in _blocks(heading) if PROGRAM.match(block)]
    return [command for block in found for command in block.splitlines()]


def content(heading: str, begins: str) -> str:
    """The block of a section that begins so: the content of a file."""
    (found,) = [block for block in _blocks(heading) if block.startswith(begins)]
    return found


def write_repository(folder: Path, wheels: Path) -> None:
    """A repository with the location and the wheel, as the page describes it."""
    for path, text in Scaffold("tolls").render().items():
        file = folder.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    project = folder / "pyproject.toml"
    project.write_text(
        re.sub(
            r"\[tool\.uv\.sources\]\n(?:.+\n)+", content(OTHER, "[tool.uv]"), project.read_text()
        )
    )
    shutil.copytree(wheels, folder / "wheels", ignore=shutil.ignore_patterns(".gitignore"))
    # As `make location` does, begin with versions that are in use.
    shutil.copy(ROOT / "analytics" / "requirements.lock", folder)
    (folder / "Dockerfile").write_text(content(OTHER, "FROM "))
    for ignored in (".dockerignore", ".gitignore"):
        (folder / ignored).write_text(".venv\n")
    who = ("-c", "user.name=tests", "-c", "user.email=t@example.com")
    for words in (("init",), ("add", "--all"), ("commit", "--quiet", "--message=all")):
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)
