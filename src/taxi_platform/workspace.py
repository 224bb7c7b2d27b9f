"""The code locations: the projects of `dg.toml`, which is the only list of them.

What else depends on the list is derived from it: by the Makefile, by workflows, and in files that
other tools read, by the templates in their comments (`make generate`).
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.12"


@dataclass(frozen=True)
class Location:
    """A code location: its name, module, folder, and the Python of its environment.

    owner:   the team, as its `pyproject.toml` names the maintainer
    version: of Python in its image: that of its `.python-version`, by default 3.12
    """

    name: str
    module: str
    folder: Path
    python: Path
    owner: str = ""
    version: str = PYTHON

    @property
    def is_here(self) -> bool:
        """Whether it is in this repository, which then tests it and builds its image."""
        return self.folder.resolve().is_relative_to(ROOT)


def locations(file: Path = ROOT / "dg.toml") -> list[Location]:
    """The locations of a `dg.toml`; paths in it start at its folder.

    Raises ValueError for a project that is none.
    """
    projects = tomllib.loads(file.read_text())["workspace"].get("projects", [])
    return [_location(file.parent, project["path"]) for project in projects]


def _location(root: Path, path: str) -> Location:
    folder = root / path
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text())
        settings = project["tool"]["dg"]["project"]
        name = settings.get("code_location_name", settings["root_module"])
    except (OSError, KeyError) as error:
        raise ValueError(
            f"dg.toml: {path} is not a code location; expected a folder whose pyproject.toml has "
            "root_module below [tool.dg.project]"
        ) from error
    version = folder / ".python-version"
    return Location(
        name=name,
        module=f"{settings['root_module']}.definitions",
        folder=folder,
        python=folder / ".venv" / "bin" / "python",
        owner=_owner(project["project"], name),
        version=version.read_text().strip() if version.exists() else PYTHON,
    )


def _owner(project: dict[str, Any], name: str) -> str:
    """The first maintainer; a team has the name of its location by default."""
    maintainers = project.get("maintainers") or [{"name": name.replace("_", "-")}]
    return str(maintainers[0]["name"])


def compose_fragment(name: str, compose: str) -> str:
    """The fragment of the compose file that a location extends: its own, or `location`."""
    return name if re.search(rf"^x-{name}: &{name}$", compose, re.M) else "location"


def image_tags(values: str) -> dict[str, str]:
    """The tags of the images in generated values of Helm, which teams edit, by location."""
    return dict(re.findall(r"/(\w+), tag: \"(\w+)\"", values))
