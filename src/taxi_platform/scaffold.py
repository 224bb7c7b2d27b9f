"""Adds a code location from a template, and removes one.

The template is a folder of Jinja files in which NAME stands for the location. `dg scaffold project`
makes an empty project with another lock and environment; this one has an asset with all that the
other locations' assets have, and passes `make check` and its tests at once.
"""

import importlib.util
import keyword
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from taxi_platform.workspace import PYTHON, ROOT
from taxi_shared.contracts import CONTRACTS

TEMPLATE = Path(__file__).parent / "location_template"
LOCKS = ("requirements.lock", "requirements-dev.lock")
PYTHONS = ("3.11", "3.12", "3.13")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
OWNER = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
MAX_LENGTH = 24


class LocationError(Exception):
    """A location cannot be added or removed; says why, and what is accepted."""


@dataclass(frozen=True)
class Scaffold:
    """A location to add or to remove, in the repository at `root`.

    owner:  the team, by default the name with hyphens
    python: of its image and its environment, as in 3.13
    """

    name: str
    owner: str = ""
    python: str = ""
    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """The folder of the location."""
        return self.root / self.name

    @property
    def exists(self) -> bool:
        """Whether the folder is a location of this name, listed or not."""
        try:
            project = tomllib.loads((self.folder / "pyproject.toml").read_text())
            return bool(project["tool"]["dg"]["project"]["root_module"] == self.name)
        except (OSError, KeyError):
            return False

    def add(self) -> list[str]:
        """Write the files, and list the location in dg.toml last; returns what was written.

        Nothing is written for a location that is listed; where this was interrupted, it goes on.
        Raises LocationError.
        """
        self.check_name()
        if self.owner and not OWNER.fullmatch(self.owner):
            raise LocationError(
                f"OWNER={self.owner} is not a team; expected lower-case letters, digits and single "
                "hyphens, as in OWNER=revenue"
            )
        if self.python and self.python not in PYTHONS:
            raise LocationError(f"PYTHON={self.python}; expected one of {', '.join(PYTHONS)}")
        if self.exists:
            self._check_settings()
        if self._is_listed():
            return []
        missing = {
            path: text for path, text in self.render().items() if not (self.root / path).exists()
        }
        for path, text in missing.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        self._seed_locks()
        with (self.root / "dg.toml").open("a") as file:
            file.write(self._entry())
        return [*missing, "dg.toml"]

    def remove(self, *, force: bool = False) -> list[str]:
        """Remove the folder and the entry in dg.toml; data and history stay.

        Returns the other services of its image that are left in docker-compose.yml.
        Raises LocationError if the folder has work that git does not have, unless `force`, or if
        another location uses its assets.
        """
        if not NAME.fullmatch(self.name) or not (self.exists or self._is_listed()):
            raise LocationError(
                f"NAME={self.name} is not a location; expected one of {', '.join(self._listed())}"
            )
        if uses := [f"{c.user} uses {c.asset}" for c in CONTRACTS if c.maker == self.name]:
            raise LocationError(
                f"{self.name} cannot be removed: {', '.join(uses)}; first remove these uses, and "
                "their entries in contracts.toml"
            )
        if (files := self.uncommitted()) and not force:
            raise LocationError(
                f"{self.name} has work that is not committed:\n  "
                + "\n  ".join(files)
                + "\nCommit it,"
                f" or remove it as well: make location NAME={self.name} REMOVE=1 FORCE=1"
            )
        listed = self.root / "dg.toml"
        listed.write_text(listed.read_text().replace(self._entry(), ""))
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
        return [
            name
            for name, service in _load(self.root / "docker-compose.yml")["services"].items()
            if name != self.name and service.get("image", "").endswith(f"-{self.name}:current")
        ]

    def check_name(self) -> None:
        """Raise LocationError unless the name can be that of a new location, or is that of one."""
        if not NAME.fullmatch(self.name) or len(self.name) > MAX_LENGTH:
            raise self._refusal("is not a name")
        if self.exists:
            return
        if keyword.iskeyword(self.name) or keyword.issoftkeyword(self.name):
            raise self._refusal("is a keyword of Python")
        if self.folder.exists():
            raise self._refusal(f"is taken by the folder {self.name}/")
        if self.name in self._services():
            raise self._refusal("is taken by a service of docker-compose.yml")
        if self.name in sys.stdlib_module_names or importlib.util.find_spec(self.name):
            raise self._refusal("is taken by a package of Python")

    def render(self) -> dict[str, str]:
        """The text of each file of the template, by its path in the repository."""
        templates = Environment(  # noqa: S701 - Python, TOML and SQL are no HTML
            loader=FileSystemLoader(TEMPLATE), undefined=StrictUndefined, keep_trailing_newline=True
        )
        with TemporaryDirectory() as folder:
            for template in templates.list_templates():
                file = Path(folder, template.replace("NAME", self.name).removesuffix(".jinja"))
                file.parent.mkdir(parents=True, exist_ok=True)
                text = templates.get_template(template).render(name=self.name, owner=self._owner())
                file.write_text(text)
            if self._python() != PYTHON:
                Path(folder, ".python-version").write_text(f"{self._python()}\n")
            self._format(folder)
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            return {f"{self.name}/{f.relative_to(folder)}": f.read_text() for f in files}

    def uncommitted(self) -> list[str]:
        """The files of the folder that git does not have, other than those of the template."""
        command = ("git", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        status = subprocess.run(
            [*command, "--", self.name], cwd=self.root, capture_output=True, text=True, check=False
        )
        if status.returncode:
            raise LocationError(f"git cannot say what is committed: {status.stderr.strip()}")
        rendered = self.render()
        locks = {f"{self.name}/{lock}" for lock in LOCKS}
        changed = [(line[:2], line[3:]) for line in status.stdout.split("\0") if line]
        return [
            path
            for state, path in changed
            if (self.root / path).exists()
            and not (state == "??" and path in locks)
            and (self.root / path).read_bytes() != rendered.get(path, "").encode()
        ]

    def _check_settings(self) -> None:
        """Raise LocationError if the location exists with another owner or another Python."""
        for name, given, found, file in (
            ("OWNER", self.owner, self._found_owner(), "pyproject.toml"),
            ("PYTHON", self.python, self._found_python(), ".python-version"),
        ):
            if given and given != found:
                raise LocationError(
                    f"{self.name} exists with {name}={found}; change that in {self.name}/{file}, "
                    "then run `make generate`"
                )

    def _owner(self) -> str:
        return self.owner or self._found_owner() or self.name.replace("_", "-")

    def _python(self) -> str:
        return self.python or self._found_python()

    def _found_owner(self) -> str:
        """The maintainer that an existing location has."""
        if not self.exists:
            return ""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        return str(project.get("maintainers", [{"name": ""}])[0]["name"])

    def _found_python(self) -> str:
        version = self.folder / ".python-version"
        return version.read_text().strip() if version.exists() else PYTHON

    def _format(self, folder: str) -> None:
        """Format Python as the project's: the order of imports depends on the name."""
        ruff = str(Path(sys.executable).parent / "ruff")
        ours = f"lint.isort.known-first-party = ['{self.name}', 'taxi_shared', 'taxi_testing']"
        settings = ("--quiet", "--no-cache", "--config", str(self.root / "pyproject.toml"))
        for command in (("check", "--fix-only", "--select=I", "--config", ours), ("format",)):
            subprocess.run([ruff, *command, *settings, folder], check=True, capture_output=True)

    def _seed_locks(self) -> None:
        """Begin its locks with those of the host, so that both have the same versions."""
        pins = "\n".join((self.root / lock).read_text() for lock in LOCKS)
        for lock in LOCKS:
            if not (self.folder / lock).exists():
                (self.folder / lock).write_text(pins)

    def _services(self) -> set[str]:
        files = [self.root / "docker-compose.yml", self.root / "deploy" / "production.yml"]
        return {"host", *(key for file in files for key in _load(file)["services"])}

    def _listed(self) -> list[str]:
        workspace = tomllib.loads((self.root / "dg.toml").read_text())["workspace"]
        return [project["path"] for project in workspace.get("projects", [])]

    def _is_listed(self) -> bool:
        return self.name in self._listed()

    def _entry(self) -> str:
        return f'\n[[workspace.projects]]\npath = "{self.name}"\n'

    def _refusal(self, why: str) -> LocationError:
        return LocationError(
            f"NAME={self.name or '(nothing)'} {why}; expected up to {MAX_LENGTH} lower-case "
            "letters, digits and single underscores, a letter first, that no folder, service or "
            "package of Python has, as in NAME=fares"
        )


class _ComposeLoader(yaml.SafeLoader):
    """Reads compose files, which have tags such as `!reset`."""


_ComposeLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _load(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.load(file.read_text(), _ComposeLoader)  # noqa: S506
    return found
