"""Deploys a code location: builds and checks its image, and replaces its code server.

The new code server starts beside the old one, which is removed once the new one has loaded.
`docker compose up --wait` alone would stop the old one first: each deploy would fail some ticks of
sensors, and an image that does not load would be noticed too late. Nothing else is restarted.
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
LOADED = ("python", "-m", "taxi_shared.health", "definitions", "4000")
CONTRACTS = ("python", "-m", "taxi_shared.contracts")


# Runs in the webserver's container; reads a query and its variables as JSON.
ASK = """
import json, sys
from taxi_platform.graphql import GraphQL
print(json.dumps(GraphQL("http://127.0.0.1:3000").ask(**json.load(sys.stdin))))
"""


class DeployError(Exception):
    """The location was not deployed."""


@dataclass(frozen=True)
class ComposeGraphQL(GraphQL):
    """The API of a compose project's webserver, queried in its container.

    In production the webserver has no port on 127.0.0.1: any user of the machine could change
    everything through it.
    """

    url: str = "the webserver's container"
    root: Path = ROOT

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a query returns. Raises DeployError."""
        given = json.dumps({"query": query, **variables})
        execute = ("compose", "exec", "-T", "webserver", "python", "-c", ASK)
        data: dict[str, Any] = json.loads(_docker(*execute, cwd=self.root, given=given))
        return data


@dataclass(frozen=True)
class Deployment:
    """The deploy of one location to the compose project in the folder `root`."""

    location: Location
    neighbours: list[str]
    graphql: GraphQL
    console: Console
    root: Path = ROOT

    def run(self, *, tested: bool = False) -> str:
        """Deploy and return the image. Raises DeployError after restoring the old code server."""
        with self.lock():
            return self._run(tested=tested)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the location for one deploy at a time by this user, from any checkout.

        Other users of the machine are not locked out: that would need a file that both can write,
        in a folder such as /tmp, where anyone could lock it forever or replace it with a link.
        """
        project = self.configuration()["name"]
        folder = _state_folder()
        make_private_folder(folder)
        with open_lock(folder / f"{project}-{self.name}.deploy") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeployError(
                    f"{self.name} is already being deployed; wait for that deploy to end"
                ) from None
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
            new = self.start_another(image)
            # Check again, now with the new server's own settings. The server itself is healthy even
            # if its definitions do not load.
            _docker("exec", new, *CONTRACTS, self.name)
            _docker("exec", new, *LOADED)
            remove(old)
            self._wait_loaded(image)
        except (Exception, KeyboardInterrupt) as error:
            why = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            try:
                self._restore(old, old_image)
            except Exception as failure:
                raise DeployError(f"{why}\n{self.name} is not as before: {failure}") from error
            raise DeployError(f"{why}\n{self.name} runs as before") from error
        self._renew_companions()
        return image

    @property
    def name(self) -> str:
        """The location's name, and that of its service."""
        return self.location.name

    def _step(self, text: str) -> None:
        self.console.print(f"[bold]{self.name}[/]: {text}")

    def _build(self) -> str:
        """Build the image with the arguments of the compose file, unless its version exists."""
        version, commit = _run([str(self.root / "deploy" / "version.sh")]).split()
        service = self._service()
        image = f"{_repository(service)}:{version}"
        if _docker("images", "--quiet", image).strip():
            self._step(f"{image} exists")
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

    def configuration(self) -> dict[str, Any]:
        """The compose project, as `docker compose config` resolves it."""
        configuration: dict[str, Any] = json.loads(self._compose("config", "--format", "json"))
        return configuration

    def _service(self) -> Mapping[str, Any]:
        service: Mapping[str, Any] = self.configuration()["services"][self.name]
        return service

    def _check_contracts(self, image: str) -> None:
        """Check that the image fits the other locations' running versions, in both directions."""
        self._step("checking contracts with the other locations")
        new = ("run", "--rm", "--interactive", "--network=none", image, *CONTRACTS, self.name)
        _docker(*new)
        uses = _docker(*new, "--uses")
        for neighbour in self.neighbours:
            servers = self._compose("ps", "--quiet", "--status=running", neighbour).split()
            if not servers:
                self._step(f"{neighbour} is not running: its contract is not checked")
            for server in servers:
                running = ("exec", "--interactive", server, *CONTRACTS, neighbour)
                _docker(*new, "--with", "/dev/stdin", given=_docker(*running, "--uses"))
                _docker(*running, "--with", "/dev/stdin", given=uses)

    def start_another(self, image: str) -> str:
        """Start one more code server from `image` and wait until it is healthy; its container."""
        running = self._containers(self.name)
        _docker("tag", image, self._service()["image"])
        try:
            self._scale(len(running) + 1)
        except DeployError as error:
            logs = self._compose("logs", "--no-color", "--tail=15", self.name)
            raise DeployError(f"the new code server did not start: {error}\n{logs}") from error
        (started,) = set(self._containers(self.name)) - set(running)
        return started

    def _scale(self, servers: int) -> None:
        """Have this number of code servers, and wait until they are healthy."""
        self._compose(
            *("up", "--detach", "--no-deps", "--no-build", "--no-recreate"),
            *("--wait", f"--wait-timeout={HEALTHY_SECONDS}"),
            *(f"--scale={self.name}={servers}", self.name),
        )

    def _wait_loaded(self, image: str) -> None:
        """Reload the location and wait until the webserver has it from `image`."""
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
        """Recreate other services of the location's image, such as the portal of adhoc_reports."""
        image = self._service()["image"]
        for name, service in self.configuration()["services"].items():
            if service.get("image") == image and name != self.name:
                self._step(f"renewing {name}")
                self._compose("up", "--detach", "--wait", "--no-deps", "--no-build", name)

    def _restore(self, old: str, old_image: str) -> None:
        """Remove the new code server; start the old one, or another from its image."""
        self._step("restoring the old code server")
        _docker("tag", old_image, self._service()["image"])
        for container in self._containers(self.name):
            if container != old:
                remove(container)
        self._scale(1)
        self.graphql.reload(self.name)

    def _server(self) -> str:
        """The container of the code server to replace."""
        containers = self._containers(self.name)
        if not containers:
            raise DeployError(
                f"{self.name} has no code server; start it with `docker compose up -d --wait`"
            )
        if len(containers) > 1:
            raise DeployError(
                f"{self.name} has {len(containers)} code servers, because a deploy was cut short; "
                f"`docker compose up -d --no-recreate --scale {self.name}=1 {self.name}` leaves one"
            )
        return containers[0]

    def _containers(self, name: str) -> list[str]:
        return self._compose("ps", "--all", "--quiet", name).split()

    def _compose(self, *arguments: str) -> str:
        return _docker("compose", *arguments, cwd=self.root)


def _state_folder() -> Path:
    """The user's folder for state (XDG_STATE_HOME), shared by all checkouts."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "taxi-platform"


def _repository(service: Mapping[str, Any]) -> str:
    """The name of a service's image without its tag."""
    name: str = service["image"]
    return name.rpartition(":")[0]


def remove(container: str) -> None:
    """Stop and remove a container."""
    _docker("stop", container)
    _docker("rm", container)


def _docker(*arguments: str, **options: Any) -> str:
    return _run(["docker", *arguments], **options)


def _run(command: list[str], *, cwd: Path | None = None, given: str | None = None) -> str:
    """The output of a command with the input `given`. Raises DeployError if it fails."""
    done = subprocess.run(
        command, cwd=cwd, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = "\n".join(filter(None, (done.stdout, done.stderr))).strip()
        raise DeployError(f"`{' '.join(command[:6])} …` failed with {done.returncode}:\n{output}")
    return done.stdout
