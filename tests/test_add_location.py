"""The how-to on adding a location, word for word, in a clone and a real browser."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect, sync_playwright

from taxi_platform.demo import MONTHS
from taxi_platform.graphql import ASSET_JOB, GraphQL
from taxi_platform.instance import Instance, free_port
from taxi_platform.workspace import ROOT

from .conftest import SETTINGS
from .how_to import commands
from .waiting import wait_for

# In one process, in this order: they share a clone.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("clone")]

ADD, TESTS, CHECK, DEMO = commands("Add it")
REMOVE, _ = commands("Remove it")  # the last one needs a Docker Engine
DEMO_SECONDS = 600
ADD_SECONDS = 180


class Clone:
    """A clone of the working tree, with ports and a uv of the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.add_seconds = 0.0
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
        path = f"{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}"
        ports = {"PORT": str(self.port), "PORTAL_PORT": str(free_port())}
        self.environment = {**kept, **ports, "PATH": path, "TAXI_FOLLOW_TLC": "off"}

    def run(self, command: str) -> float:
        """Run a command of the page; returns how many seconds it took."""
        begin = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return time.monotonic() - begin

    def changes(self) -> str:
        """The files that differ from the commit."""
        command = ["git", "status", "--porcelain"]
        return subprocess.check_output(command, cwd=self.root, text=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    root = tmp_path_factory.mktemp("clone") / "platform"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    who = ["-c", "user.name=tests", "-c", "user.email=t@example.com"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", *who, *arguments], cwd=root, check=True)
    clone = Clone(root)
    clone.run("make setup")
    return clone


@pytest.fixture(scope="module")
def demo(clone: Clone) -> Iterator[str]:
    """The address of the UI, after the page's commands up to `make demo`."""
    clone.add_seconds = clone.run(ADD)
    clone.run(TESTS)
    clone.run(CHECK)
    log = clone.root.parent / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # Ctrl-C ends it, also where the tests themselves run in a shell's background.
            ["env", "--default-signal=INT", "bash", "-c", DEMO],
            cwd=clone.root,
            env=clone.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:

        def is_served() -> bool:
            assert process.poll() is None, log.read_text()
            return "The UI is at" in log.read_text()

        wait_for(is_served, f"the demo, {log}", DEMO_SECONDS)
        yield f"http://127.0.0.1:{clone.port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def test_page_has_the_commands_of_this_test() -> None:
    assert ADD == "make location NAME=fares OWNER=revenue"
    assert REMOVE == "make location NAME=fares REMOVE=1"


def test_location_is_added_within_three_minutes(
    demo: str, clone: Clone, figure: Callable[[str], None]
) -> None:
    figure(f"{ADD}: {clone.add_seconds:.0f} s")
    assert 0 < clone.add_seconds < ADD_SECONDS


def test_demo_makes_the_assets_of_the_new_location(demo: str, clone: Clone) -> None:
    """By its automation: the figures equal those of pandas on the source files."""
    by_hand = [
        (month.isoformat(), len(trips), round(float(trips["total_amount"].sum()), 2))
        for month in MONTHS.months
        for trips in [
            pd.read_parquet(
                clone.root / f"data/demo/source/trip-data/yellow_tripdata_{month:%Y-%m}.parquet"
            )
        ]
    ]
    file = clone.root / "data" / "demo" / "outputs" / "fares_by_month.csv"
    found = [tuple(row) for row in pd.read_csv(file).itertuples(index=False)]
    assert found == by_hand
    assert GraphQL(demo).location_errors()["fares"] is None


def test_browser_shows_the_location_and_its_lineage(demo: str, chromium: str) -> None:
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.goto(f"{demo}/locations")
        row = page.get_by_text("fares", exact=True).first
        expect(row).to_be_visible(timeout=60_000)
        page.goto(f"{demo}/assets/fares_by_month?view=lineage&lineageScope=upstream")
        for name in ("taxi_trips", "fares_by_month"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible(timeout=60_000)
        page.goto(f"{demo}/assets/fares_by_month?view=overview")
        expect(page.get_by_text("revenue").first).to_be_visible(timeout=60_000)
        browser.close()


def test_removal_leaves_the_clone_as_it_was_but_for_data(clone: Clone) -> None:
    assert "fares/" in clone.changes()
    clone.run(REMOVE)
    assert clone.changes() == ""
    assert not (clone.root / "fares").exists()
    assert (clone.root / "data" / "demo" / "outputs" / "fares_by_month.csv").exists()
    clone.run("make setup check")


def test_removal_keeps_runs_and_materializations(demo: str, clone: Clone) -> None:
    """An instance without the location, on the home of the demo, still shows both."""
    assert not (clone.root / "fares").exists()
    environment = {"TAXI_DATA_ROOT": str(clone.root / "data" / "demo")}
    home = clone.root / ".dagster" / "demo"
    with Instance(home, daemon=False, environment=environment) as instance:
        assert "fares" not in instance.graphql.location_errors()
        assert set(instance.graphql.runs_of("fares", ASSET_JOB).values()) == {"SUCCESS"}
        materialized = instance.graphql.ask(
            """{ assetOrError(assetKey: {path: ["fares_by_month"]}) { ... on Asset {
                  assetMaterializations { partition } } } }"""
        )["assetOrError"]["assetMaterializations"]
    months = {month.isoformat() for month in MONTHS.months}
    assert {each["partition"] for each in materialized} == months


def test_location_may_have_another_python(
    clone: Clone, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    python = working_python("3.13")
    if not python:
        pytest.skip("no Python 3.13 is installed here")
    # The first on the path: the shims of pyenv may name versions that they do not start.
    (tmp_path / "python3.13").symlink_to(python)
    seconds = clone.run(f"PATH={tmp_path}:$PATH {ADD.replace('fares', 'gates')} PYTHON=3.13")
    figure(f"{ADD} PYTHON=3.13: {seconds:.0f} s")
    clone.run("gates/.venv/bin/python -c 'import sys; assert sys.version_info[:2] == (3, 13)'")
    clone.run(TESTS.replace("fares", "gates"))
    clone.run(REMOVE.replace("fares", "gates"))


def working_python(version: str) -> Path | None:
    """A Python that starts: of the machine, or one that pyenv has installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = list(pyenv.glob(f"{version}.*/bin/python{version}"))
    if ours := shutil.which(f"python{version}"):
        found.insert(0, Path(ours))
    for python in found:
        done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return python
    return None
