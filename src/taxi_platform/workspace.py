"""The code locations, as `workspace.yaml` names them."""

import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Location:
    """A code location: its name, module, folder, and the Python of its environment."""

    name: str
    module: str
    folder: Path
    python: Path


def locations(file: Path = ROOT / "workspace.yaml") -> list[Location]:
    """The locations of a workspace file; relative paths in it start at its folder."""
    entries = yaml.safe_load(file.read_text())["load_from"]
    return [
        Location(
            name=module["location_name"],
            module=module["module_name"],
            folder=file.parent / module["working_directory"],
            python=file.parent / module.get("executable_path", sys.executable),
        )
        for module in (entry["python_module"] for entry in entries)
    ]
