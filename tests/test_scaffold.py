"""Adding and removing a code location: its files, its name, and what is never lost."""

import ast
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from taxi_platform import scaffold
from taxi_platform.scaffold import LocationError, Scaffold
from taxi_platform.workspace import ROOT, Location, locations
from taxi_shared.contracts import CONTRACTS, read_contracts

COPIED = (
    *("dg.toml", "pyproject.toml", "docker-compose.yml", "deploy/production.yml"),
    *("requirements.lock", "requirements-dev.lock", ".gitignore"),
    *(f"{location.name}/pyproject.toml" for location in locations()),
)


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the files that the command reads."""
    root = tmp_path / "repository"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "shared").symlink_to(ROOT / "shared")  # by its modules, ruff sorts imports
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--message=first")
    return root


def names(root: Path) -> list[str]:
    return [location.name for location in locations(root / "dg.toml")]


def texts(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git/" not in str(path)
    }


# Before and behind the package `taxi_shared`, by which imports are sorted; and a long one.
@pytest.mark.parametrize("name", ["tolls", "zebra", "a" * scaffold.MAX_LENGTH])
def test_new_location_passes_the_checks_of_the_project(root: Path, name: str) -> None:
    written = Scaffold(name, root=root).add()
    assert names(root) == [*names(ROOT), name]
    assert f"{name}/src/{name}/defs/by_month.py" in written
    ruff, sqlfluff = (str(ROOT / ".venv" / "bin" / tool) for tool in ("ruff", "sqlfluff"))
    shutil.copy(ROOT / ".sqlfluff", root)
    for command in (
        [ruff, "format", "--check", name],
        [ruff, "check", name],
        [sqlfluff, "lint", name, "--disable-progress-bar"],
    ):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    for file in (root / name).rglob("*.py"):
        ast.parse(file.read_text())
    (contract,) = read_contracts(root / name / "src" / name / "contracts.toml")
    assert (contract.user, contract.maker, contract.asset) == (name, "ingestion", "taxi_trips")


def test_owner_and_python_are_those_of_the_command(root: Path) -> None:
    Scaffold("tolls", "revenue", "3.13", root).add()
    location = locations(root / "dg.toml")[-1]
    assert (location.owner, location.version) == ("revenue", "3.13")
    definitions = (root / "tolls" / "src" / "tolls" / "definitions.py").read_text()
    assert 'owned_by("revenue", [by_month.tolls_by_month], package="tolls")' in definitions


def test_owner_is_by_default_the_name_with_hyphens(root: Path) -> None:
    Scaffold("toll_gates", root=root).add()
    assert locations(root / "dg.toml")[-1].owner == "toll-gates"


def test_second_call_writes_nothing(root: Path) -> None:
    Scaffold("tolls", root=root).add()
    before = texts(root)
    assert Scaffold("tolls", root=root).add() == []
    assert texts(root) == before


@pytest.mark.parametrize("location", locations(), ids=lambda location: location.name)
def test_existing_location_gets_no_files(root: Path, location: Location) -> None:
    before = texts(root)
    assert Scaffold(location.name, root=root).add() == []
    assert texts(root) == before


def test_interrupted_call_is_completed_by_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Scaffold("tolls", "revenue", root=root)
    rendered = complete.render()
    first = {path: rendered[path] for path in sorted(rendered)[:4]}
    monkeypatch.setattr(Scaffold, "render", lambda _: {**first, "tolls/next.py": 0})
    with pytest.raises(TypeError):
        complete.add()

    assert names(root) == names(ROOT)
    monkeypatch.undo()
    written = Scaffold("tolls", root=root).add()
    assert len(written) == len(rendered) - 4 + 1
    assert locations(root / "dg.toml")[-1].owner == "revenue"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *(
            (name, "is not a name")
            for name in ("", "Tolls", "9a", "a b", "../a", "a__b", "a_", "a.b")
        ),
        ("a" * (scaffold.MAX_LENGTH + 1), "is not a name"),
        ("class", "is a keyword of Python"),
        ("match", "is a keyword of Python"),
        ("json", "is taken by a package of Python"),
        ("taxi_shared", "is taken by a package of Python"),
        ("postgres", "is taken by a service of docker-compose.yml"),
        ("proxy", "is taken by a service of docker-compose.yml"),
        ("deploy", "is taken by the folder deploy/"),
    ],
)
def test_name_that_cannot_be_used_is_refused(root: Path, name: str, why: str) -> None:
    before = texts(root)
    with pytest.raises(LocationError) as raised:
        Scaffold(name, root=root).add()
    assert f"NAME={name or '(nothing)'} {why}; expected up to 24 lower-case" in str(raised.value)
    assert texts(root) == before


@pytest.mark.parametrize(
    ("owner", "python", "reason"),
    [
        ("@org/team", "", "OWNER=@org/team is not a team; expected lower-case letters"),
        ("", "3.9", "PYTHON=3.9; expected one of 3.11, 3.12, 3.13"),
    ],
)
def test_setting_that_cannot_be_used_is_refused(
    root: Path, owner: str, python: str, reason: str
) -> None:
    with pytest.raises(LocationError) as raised:
        Scaffold("tolls", owner, python, root).add()
    assert reason in str(raised.value)
    assert not (root / "tolls").exists()


@pytest.mark.parametrize(
    ("owner", "python", "file"),
    [("tolls-team", "", "pyproject.toml"), ("", "3.13", ".python-version")],
)
def test_other_settings_of_an_existing_location_are_refused(
    root: Path, owner: str, python: str, file: str
) -> None:
    Scaffold("tolls", "revenue", root=root).add()
    with pytest.raises(LocationError, match=f"tolls exists with .*change that in tolls/{file}"):
        Scaffold("tolls", owner, python, root).add()


def test_removal_leaves_the_repository_as_it_was(root: Path) -> None:
    before = texts(root)
    Scaffold("tolls", "revenue", "3.13", root).add()
    assert texts(root) != before
    Scaffold("tolls", root=root).remove()
    assert texts(root) == before


def test_removal_names_the_services_that_need_its_image(root: Path) -> None:
    Scaffold("tolls", root=root).add()
    assert Scaffold("tolls", root=root).remove() == []
    assert Scaffold("adhoc_reports", root=root).remove() == ["portal", "adhoc_reports-runs"]


def test_removal_keeps_the_other_locations_listed(root: Path) -> None:
    for name in ("tolls", "tips"):
        Scaffold(name, root=root).add()
    Scaffold("tolls", root=root).remove()
    assert names(root) == [*names(ROOT), "tips"]


def change(root: Path) -> str:
    file = root / "tolls" / "src" / "tolls" / "defs" / "by_month.py"
    file.write_text(file.read_text() + "# mine\n")
    return str(file.relative_to(root))


def create(root: Path) -> str:
    (root / "tolls" / "notes.md").write_text("mine")
    return "tolls/notes.md"


@pytest.mark.parametrize("work", [change, create])
@pytest.mark.parametrize("is_committed", [True, False])
def test_removal_is_refused_where_work_would_be_lost(
    root: Path, work: Callable[[Path], str], is_committed: bool
) -> None:
    Scaffold("tolls", root=root).add()
    if is_committed:
        git(root, "add", "--all")
        git(root, "commit", "--message=tolls")
    file = work(root)
    with pytest.raises(LocationError) as raised:
        Scaffold("tolls", root=root).remove()
    assert f"not committed:\n  {file}\n" in str(raised.value)
    assert "make location NAME=tolls REMOVE=1 FORCE=1" in str(raised.value)
    assert (root / file).exists()
    Scaffold("tolls", root=root).remove(force=True)
    assert not (root / "tolls").exists()
    assert names(root) == names(ROOT)


def test_committed_work_can_be_removed(root: Path) -> None:
    Scaffold("tolls", root=root).add()
    change(root)
    git(root, "add", "--all")
    git(root, "commit", "--message=tolls")
    Scaffold("tolls", root=root).remove()
    assert not (root / "tolls").exists()


def test_without_git_nothing_is_removed(root: Path) -> None:
    Scaffold("tolls", root=root).add()
    shutil.rmtree(root / ".git")
    with pytest.raises(LocationError, match=r"git cannot say what is committed: .*not a git"):
        Scaffold("tolls", root=root).remove()
    assert (root / "tolls").is_dir()


@pytest.mark.parametrize("name", ["tolls", "deploy", "..", ""])
def test_only_a_location_can_be_removed(root: Path, name: str) -> None:
    before = texts(root)
    with pytest.raises(LocationError) as raised:
        Scaffold(name, root=root).remove(force=True)
    assert f"is not a location; expected one of {', '.join(names(ROOT))}" in str(raised.value)
    assert texts(root) == before


def test_location_that_others_use_cannot_be_removed(root: Path) -> None:
    before = texts(root)
    with pytest.raises(LocationError) as raised:
        Scaffold("ingestion", root=root).remove(force=True)
    for contract in CONTRACTS:
        assert f"{contract.user} uses {contract.asset}" in str(raised.value)
    assert texts(root) == before


def test_versions_begin_with_those_of_the_host(root: Path) -> None:
    Scaffold("tolls", root=root).add()
    seed = (root / "tolls" / "requirements.lock").read_text()
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert (ROOT / lock).read_text() in seed


def test_template_needs_the_packages_of_its_project(root: Path) -> None:
    """The versions that other locations accept."""
    Scaffold("tolls", root=root).add()

    def dependencies(file: Path) -> set[str]:
        return set(tomllib.loads(file.read_text())["project"]["dependencies"])

    analytics = dependencies(ROOT / "analytics" / "pyproject.toml")
    assert dependencies(root / "tolls" / "pyproject.toml") <= analytics
