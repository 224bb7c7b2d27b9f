"""The compose project, started from a copy of the working tree under a name of the tests' own."""

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taxi_platform.calendar import MonthRange
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import free_port
from taxi_platform.sample import write_sample
from taxi_platform.workspace import ROOT, locations
from tests.waiting import wait_for, wait_for_status

MONTHS = MonthRange.between("2023-01", "2023-03")
NOT_COPIED = (".git", ".venv", ".tools", ".dagster", "data", "__pycache__", ".*_cache", ".env")


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    """Fail every test of this folder at once where no Docker Engine answers."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"No Docker Engine answers: start one, then check `docker info` ({error}).")


def command(*words: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; fail the test with all output if it fails."""
    done = subprocess.run(words, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Stack:
    """A compose project: its folder, its settings, and the API of its webserver."""

    root: Path
    project: str
    port: int
    portal_port: int
    settings: dict[str, str] = field(default_factory=dict)
    start_seconds: float = 0.0

    @property
    def graphql(self) -> GraphQL:
        return GraphQL(f"http://127.0.0.1:{self.port}")

    @property
    def environment(self) -> dict[str, str]:
        mine = ("TAXI_", "TLC_", "AWS_", "COMPOSE_", "POSTGRES_", "DAGSTER_")
        return {k: v for k, v in os.environ.items() if not k.startswith(mine)} | {
            "COMPOSE_PROJECT_NAME": self.project,
            "TAXI_IMAGES": self.project,
            "TAXI_PORT": str(self.port),
            "TAXI_PORTAL_PORT": str(self.portal_port),
            **self.settings,
        }

    def compose(self, *words: str) -> str:
        return command("docker", "compose", *words, cwd=self.root, env=self.environment)

    def build(self) -> None:
        """All images, as `make images` builds them."""
        command("make", "images", cwd=self.root, env=self.environment)

    def execute(self, service: str, *words: str) -> str:
        return self.compose("exec", "-T", service, *words)

    def python(self, service: str, code: str) -> str:
        return self.execute(service, "python", "-c", code)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(command("docker", "inspect", *names))
        return found

    def container(self, service: str) -> str:
        (container,) = self.compose("ps", "--quiet", service).split()
        return container

    def runs_going(self) -> list[str]:
        """The containers of runs."""
        label = f"label=taxi.run={self.project}"
        return command("docker", "ps", "--quiet", "--filter", label).split()

    def services(self) -> dict[str, str]:
        """The containers by service."""
        listed = self.compose("ps", "--format", "{{.Service}} {{.ID}}").splitlines()
        return dict(line.split() for line in listed)

    def container_of(self, run_id: str) -> str:
        """The container of a run, from its start on."""
        label = f"label=dagster/run_id={run_id}"
        (found, *_) = wait_for(
            lambda: command("docker", "ps", "--quiet", "--filter", label).split(),
            what=f"the container of run {run_id}",
        )
        return str(found)

    def wait_for_locations(self) -> None:
        wait_for(
            lambda: set(self.graphql.location_errors().values()) == {None},
            what="the load of all locations",
        )

    def wait_for_run(self, run_id: str) -> str:
        return wait_for_status(self.graphql, run_id, seconds=300)

    def has_file(self, path: str) -> bool:
        return self.python("ingestion", f"import os; print(os.path.exists({path!r}))") == "True\n"

    def put_sample(self, folder: Path, rows: int = 20_000, months: MonthRange = MONTHS) -> None:
        """Synthetic months, below /data/source of the volume."""
        write_sample(folder / "source", months.months, rows)
        tar = subprocess.run(
            ["tar", "-C", str(folder), "-cf", "-", "source"], capture_output=True, check=True
        ).stdout
        subprocess.run(
            ["docker", "compose", "exec", "-T", "ingestion", "tar", "-C", "/data", "-xf", "-"],
            cwd=self.root,
            env=self.environment,
            input=tar,
            check=True,
        )


# As a person may choose it: `$` and `#` have a meaning in `.env`, the others in addresses.
PASSWORD = "p$a${x}#s/:@%"
# Nothing between the containers may go through it.
DEAD_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
SAMPLE = {
    "TLC_SOURCE_URL": "/data/source",
    "TAXI_ZONES_URL": "/data/source/misc/taxi_zones.csv",
    "TAXI_START_DATE": "2023-01-01",
    "TAXI_END_DATE": "2023-04-01",
    "TAXI_FOLLOW_TLC": "off",
}


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree with its history, which tests may change.

    Its code can be read by its owner alone, as after a clone under umask 077.
    """
    root = tmp_path_factory.mktemp("checkout") / "platform"
    # In a worktree, `.git` is a file: by a copy of it, tests would commit to the worktree's branch.
    command("git", "clone", "--quiet", "--no-checkout", str(ROOT), str(root))
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    code = ("shared", "src", *(each.name for each in locations() if each.is_here))
    command("chmod", "-R", "go-rwx", *code, cwd=root)
    (root / ".env").write_text(f"POSTGRES_PASSWORD='{PASSWORD}'\n")
    command("git", "add", "--all", cwd=root)
    commit = ("commit", "--quiet", "--allow-empty", "--message", "what is tested")
    command("git", "-c", "user.name=tests", "-c", "user.email=t@example.com", *commit, cwd=root)
    return root


@pytest.fixture(scope="package")
def stack(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The platform in containers, from `docker compose up`, with a sample as its source."""
    stack = Stack(
        checkout, f"taxi-tests-{uuid.uuid4().hex[:6]}", free_port(), free_port(), dict(SAMPLE)
    )
    stack.build()
    stack.settings |= DEAD_PROXY
    try:
        begin = time.monotonic()
        stack.compose("up", "--detach", "--wait")
        stack.wait_for_locations()
        stack.start_seconds = time.monotonic() - begin
        stack.put_sample(tmp_path_factory.mktemp("sample"))
        yield stack
    finally:
        remove(stack)


def remove(stack: Stack) -> None:
    """The project with its runs, volumes and images."""
    if going := stack.runs_going():
        # One that ends meanwhile is removed by the engine itself.
        subprocess.run(["docker", "rm", "--force", *going], check=False, capture_output=True)
        wait_for(lambda: not stack.runs_going(), what="the removal of runs")
    stack.compose("--profile", "s3", "down", "--volumes", "--remove-orphans")
    listed = command("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
    if mine := [image for image in listed if image.startswith(f"{stack.project}-")]:
        command("docker", "rmi", "--force", *mine)
