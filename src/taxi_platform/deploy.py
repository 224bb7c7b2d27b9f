"""A team's deploy: its location's image is built, checked, and put in the place of the running one.

The new code server starts beside the old one, which is taken away once the new one has proved
itself. Nothing of the other locations, the webserver or the daemon is restarted.
"""

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from taxi_platform.graphql import GraphQL
from taxi_platform.locks import make_private_folder, open_lock
from taxi_platform.workspace import ROOT, Location

HEALTHY_SECONDS = 120
LOADED_SECONDS = 60
LOADED = ("python", "healthy.py", "definitions", "4000")
CONTRACTS = ("python", "-m", "taxi_shared.contracts")


# Runs in the container of the webserver, on a query and its variables as JSON.
ASK = """
import json, sys
from taxi_platform.graphql import GraphQL
print(json.dumps(GraphQL("http://127.0.0.1:3000").ask(**json.load(sys.stdin))))
"""


class DeployError(Exception):
    """The location was not deployed; what ran before still runs."""


@dataclass(frozen=True)
class ComposeGraphQL(GraphQL):
    """The API of a compose project's webserver, asked in its container.

    In production it has no port on 127.0.0.1: any user of the machine could change all of it.
    """

    url: str = "the webserver's container"
    root: Path = ROOT

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer. Raises DeployError if there is none."""
        given = json.dumps({"query": query, **variables})
        execute = ("compose", "exec", "-T", "webserver", "python", "-c", ASK)
        data: dict[str, Any] = json.loads(_docker(*execute, cwd=self.root, given=given))
        return data


@dataclass(frozen=True)
class Deployment:
    """The deploy of one location into the compose project of `root`."""

    location: Location
    neighbours: list[str]
    graphql: GraphQL
    console: Console
    root: Path = ROOT

    def run(self, *, tested: bool = False) -> str:
        """Deploy; returns the image. Raises DeployError, with the old server back in its place."""
        with self.alone():
            return self._run(tested=tested)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the location: this user has one deploy of it at a time, from whichever checkout.

        Another user of the machine is not kept out. That would take a file that both may write, in
        a folder such as /tmp, where anyone could lock it for ever or put a link in its place.
        """
        project = self._configuration()["name"]
        folder = _state_folder()
        make_private_folder(folder)
        with open_lock(folder / f"{project}-{self.name}.deploy") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeployError(f"{self.name} is being deployed by somebody else") from None
            yield

    def _run(self, *, tested: bool) -> str:
        old = self._server()
        if not tested:
            self._step("tests")
            _run([str(self.location.python), "-m", "pytest", "-q"], cwd=self.location.folder)
        image = self._build()
        self._check_contracts(image)
        self._step("swapping the code server")
        old_image = _docker("inspect", "--format", "{{.Image}}", old).strip()
        try:
            new = self._start_another(image)
            self._wait_healthy(new)
            # Once more, now among the new server's own settings; and what that server says itself,
            # which answers even where its definitions do not load.
            _docker("exec", new, *CONTRACTS, self.name)
            _docker("exec", new, *LOADED)
            _remove(old)
            self._wait_loaded(image)
        except (Exception, KeyboardInterrupt) as error:
            why = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            try:
                self._put_back(old, old_image)
            except Exception as another:
                raise DeployError(f"{why}\n{self.name} is not as before: {another}") from error
            raise DeployError(f"{why}\n{self.name} runs as before") from error
        self._renew_companions()
        return image

    @property
    def name(self) -> str:
        return self.location.name

    def _step(self, text: str) -> None:
        self.console.print(f"[bold]{self.name}[/]: {text}")

    def _build(self) -> str:
        """Build the image from the arguments of the compose file; one of a clean commit once."""
        version, commit = _run([str(self.root / "deploy" / "version.sh")]).split()
        service = self._service()
        image = f"{_repository(service)}:{version}"
        if _docker("images", "--quiet", image).strip():
            self._step(f"{image} is there")
            return image
        self._step(f"building {image}")
        arguments = {**service["build"]["args"], "VERSION": version, "COMMIT": commit}
        _docker(
            *("build", "--quiet", "--tag", image, "--file", "deploy/Dockerfile"),
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            ".",
            cwd=self.root,
        )
        return image

    def _configuration(self) -> dict[str, Any]:
        configuration: dict[str, Any] = json.loads(self._compose("config", "--format", "json"))
        return configuration

    def _services(self) -> Mapping[str, Any]:
        services: Mapping[str, Any] = self._configuration()["services"]
        return services

    def _service(self) -> Mapping[str, Any]:
        service: Mapping[str, Any] = self._services()[self.name]
        return service

    def _check_contracts(self, image: str) -> None:
        """What the new image gives and takes fits the locations that run now."""
        self._step("contracts with the other locations")
        new = ("run", "--rm", "--interactive", "--network=none", image, *CONTRACTS, self.name)
        _docker(*new)
        uses = _docker(*new, "--uses")
        for neighbour in self.neighbours:
            servers = self._compose("ps", "--quiet", "--status=running", neighbour).split()
            if not servers:
                self._step(f"{neighbour} does not run: its contract is not checked")
            for server in servers:
                running = ("exec", "--interactive", server, *CONTRACTS, neighbour)
                _docker(*new, "--with", "/dev/stdin", given=_docker(*running, "--uses"))
                _docker(*running, "--with", "/dev/stdin", given=uses)

    def _start_another(self, image: str) -> str:
        """Start one more code server, from `image`; returns its container."""
        running = self._containers(self.name)
        _docker("tag", image, self._service()["image"])
        self._compose(
            *("up", "--detach", "--no-deps", "--no-build", "--no-recreate"),
            *(f"--scale={self.name}={len(running) + 1}", self.name),
        )
        (started,) = set(self._containers(self.name)) - set(running)
        return started

    def _wait_healthy(self, container: str) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            (found,) = json.loads(_docker("inspect", container))
            if found["State"]["Health"]["Status"] == "healthy":
                return
            if found["RestartCount"]:
                raise DeployError(f"the new code server ended:\n{_log(container)}")
            if time.monotonic() > deadline:
                raise DeployError(
                    f"the new code server does not answer after {HEALTHY_SECONDS} s:\n"
                    f"{_log(container)}"
                )
            time.sleep(0.3)

    def _wait_loaded(self, image: str) -> None:
        """Reload the location in the instance and wait until it is loaded from `image`."""
        deadline = time.monotonic() + LOADED_SECONDS
        while True:
            self.graphql.reload(self.name)
            error = self.graphql.location_errors().get(self.name, "not in the workspace")
            found = self.graphql.location_images().get(self.name)
            if error is None and found == image:
                return
            if time.monotonic() > deadline or (error and error != "loading"):
                raise DeployError(f"it does not load: {error or f'{found} still answers'}")
            time.sleep(0.5)

    def _renew_companions(self) -> None:
        """Recreate what else serves from the location's image, as the portal of adhoc_reports."""
        image = self._service()["image"]
        for name, service in self._services().items():
            if service.get("image") == image and name != self.name:
                self._step(f"renewing {name}")
                self._compose("up", "--detach", "--wait", "--no-deps", "--no-build", name)

    def _put_back(self, old: str, old_image: str) -> None:
        self._step("putting the old code server back")
        containers = self._containers(self.name)
        failed = [each for each in containers if each != old]
        _docker("tag", old_image, self._service()["image"])
        if old in containers:
            _docker("start", old)  # it may have been stopped already
        else:
            old = self._start_another(old_image)
        self._wait_healthy(old)
        for each in failed:
            _remove(each)
        self.graphql.reload(self.name)

    def _server(self) -> str:
        """The container of the code server that is to be replaced."""
        containers = self._containers(self.name)
        if not containers:
            raise DeployError(f"{self.name} has no code server: `docker compose up -d --wait`")
        if len(containers) > 1:
            raise DeployError(
                f"{self.name} has {len(containers)} code servers, as after a deploy that was cut "
                f"short: `docker compose up -d --no-recreate --scale {self.name}=1 {self.name}` "
                f"leaves one"
            )
        return containers[0]

    def _containers(self, name: str) -> list[str]:
        return self._compose("ps", "--all", "--quiet", name).split()

    def _compose(self, *arguments: str) -> str:
        return _docker("compose", *arguments, cwd=self.root)


def _state_folder() -> Path:
    """The user's folder for what programs keep between runs (XDG's state), of all checkouts."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "taxi-platform"


def _repository(service: Mapping[str, Any]) -> str:
    """The name of a service's image without its tag."""
    name: str = service["image"]
    return name.rpartition(":")[0]


def _log(container: str) -> str:
    return _docker("logs", "--tail", "15", container, stderr=subprocess.STDOUT)


def _remove(container: str) -> None:
    _docker("stop", container)
    _docker("rm", container)


def _docker(*arguments: str, **options: Any) -> str:
    return _run(["docker", *arguments], **options)


def _run(
    command: list[str],
    *,
    cwd: Path | None = None,
    given: str | None = None,
    stderr: int = subprocess.PIPE,
) -> str:
    """What a command prints. Raises DeployError with its output if it fails."""
    done = subprocess.run(
        command, cwd=cwd, input=given, stdout=subprocess.PIPE, stderr=stderr, text=True
    )
    if done.returncode:
        output = "\n".join(filter(None, (done.stdout, done.stderr))).strip()
        raise DeployError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{output}")
    return done.stdout
