"""Deploys of one location while the platform works: what changes, and what does not."""

import io
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from taxi_platform import deploy as steps
from taxi_platform.deploy import ComposeGraphQL, DeployError, Deployment
from taxi_platform.workspace import ROOT, locations
from tests.containers.conftest import Stack, command
from tests.waiting import wait_for

# A separate stack: while images are built, the other tests use theirs.
pytestmark = pytest.mark.xdist_group("deploy")

LOCATIONS = {location.name: location for location in locations()}
MONTH = {"dagster/partition": "2023-01-01"}
WEEK = {"dagster/partition": "2023-01-08"}


def deploy(stack: Stack, monkeypatch: pytest.MonkeyPatch, name: str = "analytics") -> str:
    """`make deploy` of the checkout, whose tests are those of the working tree."""
    return deployment(stack, monkeypatch, name).run(tested=True)


def deployment(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, name: str = "analytics"
) -> Deployment:
    for key, value in stack.environment.items():
        monkeypatch.setenv(key, value)
    neighbours = [each for each in LOCATIONS if each != name]
    console = Console(file=io.StringIO())
    graphql = ComposeGraphQL(root=stack.root)
    return Deployment(LOCATIONS[name], neighbours, graphql, console, stack.root)


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """Another content of a file of the checkout, for the length of the block."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def slowed(stack: Stack, *runs: str) -> list[str]:
    """The containers of runs, which have begun and work on at a hundredth of a processor.

    Paused, they would be taken for lost: Dagster looks after their containers.
    """
    containers = {run: stack.container_of(run) for run in runs}
    command("docker", "update", "--cpus=0.1", *containers.values())
    waiting = dict(containers)

    def have_begun() -> bool:
        for run in [each for each in waiting if stack.graphql.run_status(each) == "STARTED"]:
            command("docker", "update", "--cpus=0.01", waiting.pop(run))
        return not waiting

    wait_for(have_begun, seconds=170, what="the start of the runs")
    return list(containers.values())


def rows(stack: Stack, partition: str) -> str:
    code = f"""
import duckdb
con = duckdb.connect("/data/staging/data.duckdb", read_only=True)
query = "SELECT COUNT(*), SUM(total_amount) FROM trips WHERE partition_date = DATE '{partition}'"
print(con.execute(query).fetchone())
"""
    return stack.python("ingestion", code)


@dataclass
class Watch:
    """Asks a code server from the webserver's container, ten times a second, as Dagster does."""

    stack: Stack
    name: str
    gaps: list[float] = field(default_factory=list)

    CODE = """
import select, sys, time, grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
last = time.monotonic()
print("watching", flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    try:
        with grpc.insecure_channel(sys.argv[1] + ":4000") as channel:
            HealthStub(channel).Check(HealthCheckRequest(service="DagsterApi"), timeout=1)
        now = time.monotonic()
        print(f"{now - last:.2f}", flush=True)
        last = now
    except grpc.RpcError:
        pass
"""

    def __enter__(self) -> "Watch":
        watching = self.stack.container("webserver")
        self.process = subprocess.Popen(
            ["docker", "exec", "--interactive", watching, "python", "-c", self.CODE, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "watching\n"
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.gaps.append(float(line))

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.reader.join()
        self.process.wait()


def servers(stack: Stack) -> dict[str, str]:
    services = (*LOCATIONS, "webserver", "daemon", "postgres", "engine")
    return {name: stack.container(name) for name in services}


def test_deploy_leaves_runs_and_other_locations_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    first = stack.graphql.launch("ingestion", "trip_update_job", tags=MONTH)
    assert stack.wait_for_run(first) == "SUCCESS", stack.graphql.run_failure(first)
    loaded = rows(stack, MONTH["dagster/partition"])
    before = servers(stack)
    launched = [
        stack.graphql.launch("ingestion", "trip_update_job", tags=MONTH),
        stack.graphql.launch("analytics", "weekly_update_job", tags=WEEK),
    ]
    going = slowed(stack, *launched)
    start_another = Deployment.start_another

    def start_while_runs_work(deployment: Deployment, image: str) -> str:
        assert [stack.graphql.run_status(run) for run in launched] == ["STARTED", "STARTED"]
        return start_another(deployment, image)

    monkeypatch.setattr(Deployment, "start_another", start_while_runs_work)
    begin = time.time()
    with Watch(stack, "analytics") as watch:
        image = deploy(stack, monkeypatch)
    outlasted = sum(stack.graphql.run_status(run) == "STARTED" for run in launched)
    figure(f"runs that worked before, in and after the swap of a deploy: {outlasted} of 2")
    assert stack.graphql.location_images()["analytics"] == image
    assert stack.graphql.ticks_since("adhoc_reports", "adhoc_request_sensor", begin)
    longest = max(watch.gaps)
    figure(f"longest time without an answer of analytics in a deploy: {longest:.1f} s")
    if still := set(going) & set(stack.runs_going()):
        command("docker", "update", "--cpus=2", *still)
    for run in launched:
        assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)
    assert rows(stack, MONTH["dagster/partition"]) == loaded
    after = servers(stack)
    assert after.pop("analytics") != before.pop("analytics")
    assert after == before
    (found,) = stack.inspect(stack.container("analytics"))
    head = command("git", "rev-parse", "HEAD", cwd=stack.root).strip()
    assert found["Config"]["Labels"]["org.opencontainers.image.revision"] == head


def test_the_next_run_is_of_the_new_image(stack: Stack) -> None:
    run = stack.graphql.launch("analytics", "weekly_update_job", tags=WEEK)
    (found,) = stack.inspect(stack.container_of(run))
    assert found["Config"]["Image"] == stack.graphql.location_images()["analytics"]
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["Memory"] == 2 << 30
    assert found["Config"]["User"] == "taxi"
    assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)


def test_deploy_cannot_drop_a_column_that_a_location_reads(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, images = servers(stack), stack.graphql.location_images()
    tables = stack.root / "shared" / "src" / "taxi_shared" / "tables.py"
    renamed = tables.read_text().replace('"week_start"', '"week_begin"')
    with (
        changed(tables, renamed),
        pytest.raises(DeployError, match=r"analytics uses column trips\.week_start"),
    ):
        deploy(stack, monkeypatch, "ingestion")
    assert servers(stack) == before
    assert stack.graphql.location_images() == images


def test_interrupted_deploy_starts_the_old_server_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, images = servers(stack), stack.graphql.location_images()
    remove = steps.remove

    def stop_alone(container: str) -> None:
        monkeypatch.setattr(steps, "remove", remove)
        command("docker", "stop", container)
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "remove", stop_alone)
    with pytest.raises(DeployError, match="it was interrupted\nanalytics runs as before"):
        deploy(stack, monkeypatch)
    assert servers(stack) == before
    stack.wait_for_locations()
    assert stack.graphql.location_images() == images


def test_second_deploy_of_a_location_is_refused(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment(stack, monkeypatch).lock():
        with pytest.raises(DeployError, match="analytics is already being deployed"):
            deploy(stack, monkeypatch)
        with deployment(stack, monkeypatch, "ingestion").lock():
            pass  # another team is not held up


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        # Loads where it is checked, and not where it serves.
        (
            "import sys\nif 'code-server' in sys.argv or 'grpc' in sys.argv:\n"
            "    raise RuntimeError('not in a server')",
            "not in a server",
        ),
        # Loads everywhere but among the settings of the platform.
        (
            "import os\nif 'DAGSTER_POSTGRES_HOST' in os.environ:\n"
            "    raise RuntimeError('not with a database')",
            "not with a database",
        ),
    ],
)
def test_a_broken_location_is_not_deployed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, broken: str, reason: str
) -> None:
    before, images = servers(stack), stack.graphql.location_images()
    definitions = stack.root / "analytics" / "src" / "analytics" / "definitions.py"
    with (
        changed(definitions, f"{definitions.read_text()}\n{broken}\n"),
        pytest.raises(DeployError, match=reason),
    ):
        deploy(stack, monkeypatch)
    stack.wait_for_locations()
    assert stack.graphql.location_images() == images
    after = servers(stack)
    del before["analytics"], after["analytics"]
    assert after == before
    stack.compose("up", "--detach", "--wait", "--no-recreate")
    assert stack.graphql.location_images() == images


def test_a_location_has_its_own_python_and_versions(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "python:3.13-slim-bookworm"
    if subprocess.run(
        ["docker", "pull", "--quiet", other], check=False, capture_output=True
    ).returncode and (not command("docker", "images", "--quiet", other)):
        pytest.skip(f"no registry answers, and there is no image {other}")
    pandas = "import pandas; print(pandas.__version__)"
    assert stack.python("analytics", pandas).startswith("3.")
    compose, folder = stack.root / "docker-compose.yml", stack.root / "analytics"
    head, location, tail = compose.read_text().partition("        FOLDER: analytics\n")
    compose.write_text(head + location + tail.replace('PYTHON: "3.12"', 'PYTHON: "3.13"', 1))
    for project in (folder, stack.root / "shared"):
        file = project / "pyproject.toml"
        file.write_text(file.read_text().replace("1.13.27", "1.13.26").replace("9.27", "9.26"))
    older = stack.root / "older.txt"
    older.write_text("dagster==1.13.26\npandas<3\n")
    try:
        command(
            *(uv(), "pip", "compile", "--quiet", "--universal", "--python-version=3.11"),
            *("--generate-hashes", "--no-emit-index-url", "--no-emit-package=taxi-shared"),
            *("--constraint", str(older), "--upgrade-package=dagster", "--upgrade-package=pandas"),
            *("pyproject.toml", "--output-file=requirements.lock"),
            cwd=folder,
        )
        image = deploy(stack, monkeypatch)
    finally:
        command("git", "checkout", "--quiet", ".", cwd=stack.root)
        older.unlink()
    stack.wait_for_locations()
    assert stack.graphql.location_images()["analytics"] == image
    versions = "import sys, dagster; print(*sys.version_info[:2], dagster.__version__)"
    assert stack.python("analytics", versions) == "3 13 1.13.26\n"
    assert stack.python("ingestion", versions) == "3 12 1.13.27\n"
    assert stack.python("analytics", pandas).startswith("2.")
    run = stack.graphql.launch("analytics", "weekly_update_job", tags=WEEK)
    assert stack.wait_for_run(run) == "SUCCESS", stack.graphql.run_failure(run)


def uv() -> str:
    return shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
